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

SEEDS = st.integers(0, 2**32 - 1)


def ulps(got: float, exact: object) -> float:
    """Distance in units in the last place of the exact value."""
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
    """Spec §2: relative error ≤ 4 ulp for μΔ from 1e-18 to 1e3."""
    kernel = sample_kernel(seed, count=32)
    got = library_covariance(kind, kernel, subject)
    with mp.workdps(covariances.DIGITS):
        worst = max(map(ulps, got, exact_propagated(kernel)))
    assert worst <= 4.0, f"{worst:.2f} ulp"


@pytest.mark.parametrize("kind", KERNELS)
@drawn(seed=SEEDS)
def test_growing_modes_lose_their_condition_only(subject: Subject, kind: str, seed: int) -> None:
    """Spec §2, any sign of μ.

    V grows like e^x with x = 2|μ|Δ, so a rounding of x is worth 1 + x roundings of V.
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
    """Equation (2.2): Σ = V + η²E² + γ², to 4 ulp of V, two sums, and the condition of E²."""
    kernel = sample_kernel(seed, high=10.0, count=32)
    got = library_residual_covariance(kind, kernel, subject)
    terms = zip(
        kernel.lag, kernel.decay, kernel.process, kernel.measurement, kernel.query, strict=True
    )
    with mp.workdps(covariances.DIGITS):
        exact = [covariances.residual(lag, decay, noise) for lag, decay, *noise in terms]
        worst = max(map(ulps, got, exact))
    assert worst <= 8.0, f"{worst:.2f} ulp"
