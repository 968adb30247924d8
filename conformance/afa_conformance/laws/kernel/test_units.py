"""The kernel does not depend on the units of time and values (spec §1, §2)."""

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

SEEDS = st.integers(0, 2**32 - 1)
FACTORS = st.sampled_from((2.0, 1e-3, 1e6, 0.3))


@pytest.mark.parametrize("kind", KERNELS)
@drawn(seed=SEEDS, factor=FACTORS)
def test_unit_of_time(subject: Subject, kind: str, seed: int, factor: float) -> None:
    """Spec §13: (cμ, cσ², Δ/c) leaves V and Σ unchanged, to 64 ε."""
    kernel = sample_kernel(seed, high=10.0)
    changed = replace(
        kernel,
        lag=kernel.lag / factor,
        decay=kernel.decay * factor,
        process=kernel.process * factor,
    )
    for function in (library_covariance, library_residual_covariance):
        expected = function(kind, kernel, subject)
        ratio = function(kind, changed, subject) / expected
        subject.assert_close(ratio, np.ones_like(expected), 64 * EPS)


@pytest.mark.parametrize("kind", KERNELS)
@drawn(seed=SEEDS, factor=FACTORS)
def test_unit_of_values(subject: Subject, kind: str, seed: int, factor: float) -> None:
    """Spec §1: variances by c² give V and Σ by c², to 16 ε."""
    kernel = sample_kernel(seed)
    changed = replace(
        kernel,
        process=kernel.process * factor**2,
        measurement=kernel.measurement * factor**2,
        query=kernel.query * factor**2,
    )
    for function in (library_covariance, library_residual_covariance):
        expected = function(kind, kernel, subject) * factor**2
        ratio = function(kind, changed, subject) / expected
        subject.assert_close(ratio, np.ones_like(expected), 16 * EPS)


@pytest.mark.asserts
@pytest.mark.parametrize("kind", KERNELS)
@drawn(seed=SEEDS)
def test_direction_of_time(subject: Subject, kind: str, seed: int) -> None:
    """Spec §8.4: V and Σ depend on |Δ| only, bitwise."""
    kernel = sample_kernel(seed)
    reversed_lag = replace(kernel, lag=-kernel.lag)
    for function in (library_covariance, library_residual_covariance):
        expected = function(kind, kernel, subject)
        np.testing.assert_array_equal(function(kind, reversed_lag, subject), expected)
