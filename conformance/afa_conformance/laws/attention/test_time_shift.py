"""Only differences of times matter (spec §8.3)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given

from afa_conformance.closeness import EPS, EPS32, assert_close
from afa_conformance.descriptions import Description, descriptions
from afa_conformance.problems import completed, condition
from afa_conformance.realising import realise
from afa_conformance.sending import attention
from afa_core.backend import Backend

# drawn times are multiples of 2⁻¹⁰, so adding the shift is exact
SHIFTS = [-17.5, 1e9]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("shift", SHIFTS)
@given(description=descriptions())
def test_common_shift(backend: Backend, shift: float, dtype: str, description: Description) -> None:
    """Spec §8.3: a common shift of float64 times changes nothing beyond rounding.

    Not even one of 1e9 under single-precision data: differences are taken before any cast.
    """
    problem = completed(realise(description))
    moved = replace(
        problem,
        query_times=problem.query_times.astype(np.float64) + shift,
        key_times=problem.key_times.astype(np.float64) + shift,
    )
    eps = EPS if dtype == "float64" else EPS32
    expected = attention(problem, backend, dtype)
    assert_close(attention(moved, backend, dtype), expected, 8 * eps * condition(problem))


@given(description=descriptions(times="integers"))
def test_integer_stamps(backend: Backend, description: Description) -> None:
    """Spec §8.3: integer times mean what floating ones do, also as stamps in nanoseconds."""
    problem = completed(realise(description))
    expected = attention(
        replace(
            problem,
            query_times=problem.query_times.astype(np.float64),
            key_times=problem.key_times.astype(np.float64),
        ),
        backend,
    )
    tolerance = 8 * EPS * condition(problem)
    assert_close(attention(problem, backend), expected, tolerance)
    shift = 1_700_000_000_000_000_003
    stamps = replace(
        problem, query_times=problem.query_times + shift, key_times=problem.key_times + shift
    )
    assert_close(attention(stamps, backend), expected, tolerance)
