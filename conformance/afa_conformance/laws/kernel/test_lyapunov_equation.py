"""V solves the differential Lyapunov equation (spec §2)."""

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
from afa_conformance.numerics import derivative
from afa_conformance.subject import Subject

STEP = 1e-3
# four roundings of V over the step; the sixth-order remainder is smaller
TOLERANCE = 8 * EPS / STEP


@pytest.mark.parametrize("kind", KERNELS)
@drawn(seed=st.integers(0, 2**32 - 1), growing=st.booleans())
def test_lyapunov_equation(subject: Subject, kind: str, seed: int, growing: bool) -> None:
    """Spec §2: dV/ds = −2μV + σ² and V(0) = 0, any sign of μ.

    By differences of step h = 1e-3, to 8 ε/h.
    """
    kernel = sample_kernel(seed, low=1e-3, high=2.0, growing=growing)

    def variance(fraction: float) -> np.ndarray:
        return library_covariance(kind, replace(kernel, lag=kernel.lag * fraction), subject)

    slope = derivative(variance, 1.0, STEP)
    expected = kernel.lag * (-2.0 * kernel.decay * variance(1.0) + kernel.process)
    size = variance(1.0) + np.abs(expected)
    subject.assert_close(slope / size, expected / size, TOLERANCE, scale=1.0)
    assert not np.any(variance(0.0))


@pytest.mark.parametrize("kind", KERNELS)
@drawn(seed=st.integers(0, 2**32 - 1))
def test_measurement_noise_decays_at_the_same_rate(subject: Subject, kind: str, seed: int) -> None:
    """Equation (2.2): Σ − γ² solves dx/ds = −2μx + σ² from η² at lag zero.

    By differences of step h = 1e-3, to 8 ε/h.
    """
    kernel = sample_kernel(seed, low=1e-3, high=2.0)
    kernel = replace(kernel, query=np.zeros_like(kernel.query))

    def variance(fraction: float) -> np.ndarray:
        return library_residual_covariance(
            kind, replace(kernel, lag=kernel.lag * fraction), subject
        )

    slope = derivative(variance, 1.0, STEP)
    expected = kernel.lag * (-2.0 * kernel.decay * variance(1.0) + kernel.process)
    size = variance(1.0) + np.abs(expected)
    subject.assert_close(slope / size, expected / size, TOLERANCE, scale=1.0)
    subject.assert_close(variance(0.0), kernel.measurement, EPS)
