"""Derivatives of the kernel are right, through μ = 0 too (spec §2)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from mpmath import mp

from afa_conformance.closeness import EPS
from afa_conformance.drawing import drawn
from afa_conformance.kernels import sample_kernel
from afa_conformance.oracles import covariances
from afa_conformance.subject import Subject
from afa_core import IsotropicSDE, Noise

# the derivative of expm1(x)/x is a difference of terms as large as 1/x, 100 where x is least
TOLERANCE = 512 * EPS


def gradients(subject: Subject, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the derivatives of Σ Σ_i(Δ_i) in lag, decay, process, measurement and query noise."""
    assert subject.grad is not None

    def total(lag: Any, decay: Any, *noise: Any) -> Any:
        sigma: Any = IsotropicSDE(decay, 0.0, Noise(*noise)).residual_covariance(lag)
        return sigma.sum()

    found = subject.grad(total, *(subject.from_numpy(x) for x in arrays))
    return tuple(subject.to_numpy(x) for x in found)


@pytest.mark.needs("gradients")
@drawn(seed=st.integers(0, 2**32 - 1), growing=st.booleans())
def test_gradients_of_the_residual_covariance(subject: Subject, seed: int, growing: bool) -> None:
    """Equation (2.2): derivatives by every argument equal 50-digit differences, to 512 ε.

    For either sign of μ.
    """
    kernel = sample_kernel(seed, high=3.0, growing=growing, count=8)
    arrays = (kernel.lag, kernel.decay, kernel.process, kernel.measurement, kernel.query)
    got = gradients(subject, *arrays)
    with mp.workdps(covariances.DIGITS):
        for argument in range(len(arrays)):
            expected = []
            for numbers in zip(*(x.tolist() for x in arrays), strict=True):
                ends = []
                for sign in (1, -1):
                    moved = [mp.mpf(x) for x in numbers]
                    moved[argument] += sign * mp.mpf("1e-20")
                    ends.append(covariances.residual(moved[0], moved[1], moved[2:]))
                expected.append(float((ends[0] - ends[1]) / mp.mpf("2e-20")))
            size = np.abs(expected) + 1e-3
            subject.assert_close(got[argument] / size, expected / size, TOLERANCE, scale=1.0)


@pytest.mark.needs("gradients")
@drawn(seed=st.integers(0, 2**32 - 1))
def test_slope_at_zero_decay(subject: Subject, seed: int) -> None:
    """Spec §2: ∂Σ/∂μ = −σ²Δ² − 2η²Δ at μ = 0, to 512 ε; a constant branch would give −2η²Δ."""
    kernel = sample_kernel(seed, count=8)
    zero = np.zeros_like(kernel.decay)
    arrays = (kernel.lag, zero, kernel.process, kernel.measurement, kernel.query)
    got = gradients(subject, *arrays)[1]
    expected = -kernel.process * kernel.lag**2 - 2.0 * kernel.measurement * kernel.lag
    subject.assert_close(got / expected, np.ones_like(expected), TOLERANCE)
