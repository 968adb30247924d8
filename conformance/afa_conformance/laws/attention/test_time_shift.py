"""Only differences of times matter (spec §8.3)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.problems import completed, condition
from afa_conformance.runner import run_attention
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject

# drawn times are multiples of 2⁻¹⁰, so adding the shift is exact
SHIFTS = [-17.5, pytest.param(1e9, marks=pytest.mark.needs("wide times"))]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("shift", SHIFTS)
@drawn(description=descriptions(correlated=[False, True], dtype=None))
def test_common_shift(subject: Subject, shift: float, dtype: str, description: Description) -> None:
    """Spec §8.3: a common shift of float64 times changes the estimate by rounding only.

    To 8 ε times the condition of the problem, also at a shift of 1e9 with single-precision tokens:
    differences are taken before any cast.
    """
    problem = completed(sample_problem(description.having(dtype=dtype)))
    moved = replace(
        problem,
        query_times=problem.query_times.astype(np.float64) + shift,
        key_times=problem.key_times.astype(np.float64) + shift,
    )
    expected = run_attention(problem, subject)
    subject.assert_close(
        run_attention(moved, subject), expected, 8 * problem.eps * condition(problem)
    )


@pytest.mark.needs("wide times")
@drawn(description=descriptions(correlated=[False, True], times="integers"))
def test_integer_stamps(subject: Subject, description: Description) -> None:
    """Spec §8.3: integer times give what equal floating times give, also stamps of 1.7e18.

    To 8 ε times the condition of the problem.
    """
    problem = completed(sample_problem(description))
    expected = run_attention(
        replace(
            problem,
            query_times=problem.query_times.astype(np.float64),
            key_times=problem.key_times.astype(np.float64),
        ),
        subject,
    )
    tolerance = 8 * problem.eps * condition(problem)
    subject.assert_close(run_attention(problem, subject), expected, tolerance)
    shift = 1_700_000_000_000_000_003
    stamps = replace(
        problem, query_times=problem.query_times + shift, key_times=problem.key_times + shift
    )
    subject.assert_close(run_attention(stamps, subject), expected, tolerance)
