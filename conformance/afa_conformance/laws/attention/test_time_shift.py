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


@pytest.mark.needs("wide times")
@pytest.mark.parametrize(("dtype", "late"), [("float32", 1e7), ("float16", 6e4)])
@drawn(
    description=descriptions(
        correlated=[False, True], queries=4, keys=4, causal=True, masked=False, times="irregular",
    )
)  # fmt: skip
def test_times_of_few_digits(
    subject: Subject, dtype: str, late: float, description: Description
) -> None:
    """Spec §8.3: times in half and single precision are what they are in double precision.

    To 8 ε times the condition of the problem, if they are exact, beside a last token so late that
    its lags are not. The rows before it are those of attention without it.
    """
    if not subject.has(dtype):
        pytest.skip(f"{subject.name} has no {dtype}")
    problem = completed(sample_problem(description))
    times = np.arange(4) / 4.0 if dtype == "float16" else np.asarray(problem.key_times)
    times = np.where(np.arange(4) == 3, late, times).astype(dtype)
    exact = times.astype(np.float64)
    problem = replace(problem, query_times=exact, key_times=exact)
    found = run_attention(replace(problem, query_times=times, key_times=times), subject)
    tolerance = 8 * problem.eps * condition(problem)
    subject.assert_close(found, run_attention(problem, subject), tolerance)
    without = replace(problem, mask=np.arange(4)[None, :] < 3)
    subject.assert_close(found[..., :3, :], run_attention(without, subject)[..., :3, :], tolerance)
