"""Value and slope of V at μ → 0 (spec §2)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import strategies as st

from afa_conformance.closeness import EPS
from afa_conformance.drawing import drawn
from afa_conformance.kernels import KERNELS, library_covariance, sample_kernel
from afa_conformance.numerics import derivative
from afa_conformance.subject import Subject

SEEDS = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("kind", KERNELS)
@drawn(seed=SEEDS)
def test_random_walk(subject: Subject, kind: str, seed: int) -> None:
    """Spec §2: V = σ²Δ at μ = 0, to 2 ε."""
    kernel = sample_kernel(seed)
    kernel = replace(kernel, decay=np.zeros_like(kernel.decay))
    expected = kernel.process * kernel.lag
    subject.assert_close(
        library_covariance(kind, kernel, subject) / expected, np.ones_like(expected), 2 * EPS
    )


@pytest.mark.parametrize("kind", KERNELS)
@drawn(seed=SEEDS)
def test_slope_in_decay(subject: Subject, kind: str, seed: int) -> None:
    """Spec §2: ∂V/∂μ = −σ²Δ² at μ = 0, by differences of step h = 0.01 across zero.

    To 16 ε/h + 1e-12.
    """
    kernel = sample_kernel(seed)

    def variance(rate: float) -> np.ndarray:
        return library_covariance(kind, replace(kernel, decay=rate / kernel.lag), subject)

    scale = kernel.process * kernel.lag
    slope = derivative(variance, 0.0, 1e-2) / scale
    # roundings of V over the step, and the sixth-order remainder of φ₁
    subject.assert_close(slope, -np.ones_like(slope), 16 * EPS / 1e-2 + 1e-12)


@pytest.mark.parametrize("kind", KERNELS)
@drawn(seed=SEEDS)
def test_small_decays_follow_the_series(subject: Subject, kind: str, seed: int) -> None:
    """Spec §2: V = σ²Δ(1 − x + 2x²/3 − x³/3 + …), x = μΔ, to 8 ε on both sides of any branch."""
    kernel = sample_kernel(seed, low=1e-9, high=2e-2)
    x = kernel.decay * kernel.lag
    series = 1 - x + 2 * x**2 / 3 - x**3 / 3 + 2 * x**4 / 15 - 2 * x**5 / 45 + 4 * x**6 / 315
    series = series - x**7 / 315 + 2 * x**8 / 2835
    got = library_covariance(kind, kernel, subject) / (kernel.process * kernel.lag)
    subject.assert_close(got, series, 8 * EPS)
