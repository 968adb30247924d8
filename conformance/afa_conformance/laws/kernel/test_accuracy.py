"""V and Σ are right to a few units in the last place (spec §2, numerics)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import strategies as st
from mpmath import mp

from afa_conformance.drawing import drawn
from afa_conformance.kernels import (
    KERNELS,
    KernelSample,
    library_covariance,
    library_residual_covariance,
    sample_kernel,
)
from afa_conformance.oracles import covariances
from afa_conformance.subject import Subject

pytestmark = pytest.mark.asserts

SEEDS = st.integers(0, 2**32 - 1)


def ulps(got: float, exact: object) -> float:
    """Return the error in units in the last place of the exact value."""
    return float(abs(mp.mpf(got) - exact) / mp.mpf(float(np.spacing(float(exact)))))  # type: ignore[arg-type]


def exact_propagated(kernel: KernelSample) -> list[object]:
    with mp.workdps(covariances.DIGITS):
        return [
            covariances.propagated(*(float(x) for x in each))
            for each in zip(kernel.lag, kernel.decay, kernel.process, strict=True)
        ]


@pytest.mark.parametrize("kind", KERNELS)
@drawn(seed=SEEDS)
def test_propagated_covariance_is_within_four_ulp(subject: Subject, kind: str, seed: int) -> None:
    """Equation (2.1): V = σ²(1 − e^{−2μΔ})/2μ to 4 ulp, for μΔ from 1e-18 to 1e3."""
    kernel = sample_kernel(seed, count=32)
    got = library_covariance(kind, kernel, subject)
    with mp.workdps(covariances.DIGITS):
        worst = max(map(ulps, got, exact_propagated(kernel)))
    assert worst <= 4.0, f"{worst:.2f} ulp"


@pytest.mark.parametrize("kind", KERNELS)
@drawn(seed=SEEDS)
def test_growing_modes_are_accurate_to_their_condition(
    subject: Subject, kind: str, seed: int
) -> None:
    """Equation (2.1) at μ < 0: V to 4 ulp times its condition 1 + x, x = 2|μ|Δ.

    V grows like e^x, so a rounding of x is 1 + x roundings of V.
    """
    kernel = sample_kernel(seed, high=3e2, growing=True, count=32)
    got = library_covariance(kind, kernel, subject)
    condition = 1.0 + 2.0 * np.abs(kernel.decay) * kernel.lag
    with mp.workdps(covariances.DIGITS):
        found = np.asarray(list(map(ulps, got, exact_propagated(kernel))))
    assert np.max(found / condition) <= 4.0


@pytest.mark.parametrize("kind", KERNELS)
@drawn(seed=SEEDS)
def test_residual_covariance_is_accurate(subject: Subject, kind: str, seed: int) -> None:
    """Equation (2.2): Σ = V + η²E² + γ² to 8 ulp: V, two sums, and the condition of E²."""
    kernel = sample_kernel(seed, high=10.0, count=32)
    got = library_residual_covariance(kind, kernel, subject)
    terms = zip(
        kernel.lag, kernel.decay, kernel.process, kernel.measurement, kernel.query, strict=True
    )
    with mp.workdps(covariances.DIGITS):
        exact = [covariances.residual(lag, decay, noise) for lag, decay, *noise in terms]
        worst = max(map(ulps, got, exact))
    assert worst <= 8.0, f"{worst:.2f} ulp"
