"""Σ is monotone in the lag, between known bounds (spec §2)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import strategies as st

from afa_conformance.closeness import EPS
from afa_conformance.drawing import drawn
from afa_conformance.kernels import (
    KERNELS,
    library_covariance,
    library_residual_covariance,
    sample_kernel,
)
from afa_conformance.subject import Subject

pytestmark = pytest.mark.asserts


@pytest.mark.parametrize("kind", KERNELS)
@drawn(seed=st.integers(0, 2**32 - 1))
def test_residual_covariance_is_monotone_and_bounded(
    subject: Subject, kind: str, seed: int
) -> None:
    """Spec §2: Σ rises or falls with Δ as η² is below or above σ²/2μ, and stays between, to 8 ε."""
    kernel = sample_kernel(seed, low=1e-3, high=10.0)
    stationary = kernel.process / (2.0 * kernel.decay)
    rising = np.sign(stationary - kernel.measurement)
    low = np.minimum(stationary, kernel.measurement) + kernel.query
    high = np.maximum(stationary, kernel.measurement) + kernel.query
    before = library_residual_covariance(kind, replace(kernel, lag=0.0 * kernel.lag), subject)
    for fraction in (1e-3, 1e-2, 0.1, 0.5, 1.0, 3.0, 100.0):
        sigma = library_residual_covariance(
            kind, replace(kernel, lag=kernel.lag * fraction), subject
        )
        rounding = 8 * EPS * high
        assert np.all(rising * (sigma - before) >= -rounding)
        assert np.all((sigma >= low - rounding) & (sigma <= high + rounding))
        before = sigma


@pytest.mark.parametrize("kind", KERNELS)
@drawn(seed=st.integers(0, 2**32 - 1))
def test_propagated_covariance_grows(subject: Subject, kind: str, seed: int) -> None:
    """Spec §2: V > 0 and increasing in Δ, to 8 ε, even at the smallest lags and decays."""
    kernel = sample_kernel(seed)
    before = np.zeros_like(kernel.lag)
    for fraction in (1e-12, 1e-3, 0.1, 1.0, 10.0):
        variance = library_covariance(kind, replace(kernel, lag=kernel.lag * fraction), subject)
        assert np.all(variance >= before * (1.0 - 8 * EPS))
        assert np.all(variance > 0.0)
        before = variance
