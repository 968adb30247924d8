"""V approaches its stationary value at the stated rate (spec §2)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import strategies as st

from afa_conformance.closeness import EPS
from afa_conformance.drawing import drawn
from afa_conformance.kernels import (
    KERNELS,
    decay_factor,
    library_covariance,
    library_residual_covariance,
    sample_kernel,
)
from afa_conformance.subject import Subject

SEEDS = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("kind", KERNELS)
@drawn(seed=SEEDS)
def test_gap_closes_like_the_square_of_the_decay(subject: Subject, kind: str, seed: int) -> None:
    """Spec §2: σ²/2μ − V = E²σ²/2μ, to 8 ε of σ²/2μ."""
    kernel = sample_kernel(seed, low=1e-1, high=1e3)
    limit = kernel.process / (2.0 * kernel.decay)
    missing = 1.0 - library_covariance(kind, kernel, subject) / limit
    subject.assert_close(missing, decay_factor(kernel) ** 2, 8 * EPS, scale=1.0)


@pytest.mark.parametrize("kind", KERNELS)
@drawn(seed=SEEDS)
def test_far_keys_have_the_stationary_variance(subject: Subject, kind: str, seed: int) -> None:
    """Spec §2: as Δ → ∞, Σ → γ² + σ²/2μ, to 8 ε."""
    kernel = sample_kernel(seed, low=1e2, high=1e3)
    limit = kernel.query + kernel.process / (2.0 * kernel.decay)
    subject.assert_close(
        library_residual_covariance(kind, kernel, subject) / limit, np.ones_like(limit), 8 * EPS
    )
