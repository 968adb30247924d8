"""Masked keys have no effect, not even as NaN or inf (spec §8.4, §13)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.problems import DrawnProblem, completed, condition, visibility
from afa_conformance.runner import parts, run_estimate
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject

POISONS = [np.nan, np.inf, -np.inf]


def poison(x: NDArray[Any], where: NDArray[np.bool_], what: float) -> NDArray[Any]:
    return np.where(where, x.dtype.type(what), x)


def poisoned(problem: DrawnProblem, what: float, *, times: bool) -> DrawnProblem:
    """Spoil keys that no query of any leading index sees."""
    hidden = ~np.any(visibility(problem), axis=-2)  # (..., m)
    hidden = np.all(hidden, axis=tuple(range(hidden.ndim - 1)))  # (m,)
    spoil = times and problem.key_times.dtype.kind == "f"
    return replace(
        problem,
        key=poison(problem.key, hidden[:, None], what),
        value=poison(problem.value, hidden[:, None], what),
        key_times=poison(problem.key_times, hidden, what) if spoil else problem.key_times,
    )


@pytest.mark.parametrize("what", POISONS)
@drawn(description=descriptions(masked=True))
def test_masked_keys_have_no_effect(
    subject: Subject, what: float, description: Description
) -> None:
    """Spec §13: keys hidden from every query have no effect, whatever they and their times hold.

    Estimate and precision stay the same to 8 ε times the condition of the problem.
    """
    problem = completed(sample_problem(description))
    (mean, precision) = run_estimate(problem, subject)
    spoilt = poisoned(problem, what, times=True)
    (same, also) = run_estimate(spoilt, subject)
    tolerance = 8 * problem.eps * condition(problem)
    subject.assert_close(same, mean, tolerance)
    for got, expected in zip(parts(also), parts(precision), strict=True):
        subject.assert_close(got, expected, tolerance)


@drawn(description=descriptions(masked=True))
def test_masking_is_removal(subject: Subject, description: Description) -> None:
    """Spec §8.4: hiding a key from every query gives the result of removing it.

    Estimate and precision, to 8 ε times the condition of the problem.
    """
    problem = completed(sample_problem(description))
    (mean, precision) = run_estimate(problem, subject)
    fewer = replace(
        problem,
        key=problem.key[..., :-1, :],
        value=problem.value[..., :-1, :],
        key_times=problem.key_times[..., :-1],
        mask=visibility(problem)[..., :-1],
        causal=False,
    )
    if problem.key.shape[-2] == 1:
        return
    (same, also) = run_estimate(fewer, subject)
    tolerance = 8 * problem.eps * condition(problem)
    subject.assert_close(same, mean, tolerance)
    for got, expected in zip(parts(also), parts(precision), strict=True):
        subject.assert_close(got, expected, tolerance)


@pytest.mark.parametrize("what", POISONS)
@drawn(description=descriptions(queries=4, keys=4, masked=[False, True]))
def test_nonfinite_keys_hidden_from_a_row(
    subject: Subject, what: float, description: Description
) -> None:
    """Spec §13: a non-finite key has no effect on rows it is hidden from, visible to others or not.

    Estimate and precision stay the same to 8 ε times the condition of the problem.
    """
    problem = completed(sample_problem(description))
    column = description.seed % 4
    spoilt = np.arange(4)[:, None] == column
    bad = replace(
        problem,
        key=poison(problem.key, spoilt, what),
        value=poison(problem.value, spoilt, what),
    )
    mean, precision = run_estimate(problem, subject)
    with np.errstate(invalid="ignore"):  # rows that do see it
        same, also = run_estimate(bad, subject)
    blind = ~np.broadcast_to(visibility(problem), (*mean.shape[:-1], 4))[..., column]  # (..., n)
    tolerance = 8 * problem.eps * condition(problem)
    subject.assert_close(same[blind], mean[blind], tolerance)
    for got, expected in zip(parts(also), parts(precision), strict=True):
        subject.assert_close(got[blind], expected[blind], tolerance)


@drawn(description=descriptions(queries=4, keys=4, masked=[False, True]))
def test_nan_values_propagate_to_rows_that_attend(
    subject: Subject, description: Description
) -> None:
    """Spec §8.4: NaN in a value makes every row NaN to which it is visible, and no other row."""
    problem = completed(sample_problem(description))
    column = description.seed % 4
    spoilt = np.arange(4)[:, None] == column
    with np.errstate(invalid="ignore"):
        bad = replace(problem, value=poison(problem.value, spoilt, np.nan))
        mean, _ = run_estimate(bad, subject)
    sees = np.broadcast_to(visibility(problem), (*mean.shape[:-1], 4))[..., column]  # (..., n)
    assert np.all(np.isnan(mean[sees]))
    assert np.all(np.isfinite(mean[~sees]))


@pytest.mark.parametrize("what", POISONS)
@drawn(description=descriptions(masked=True, queries=4, keys=4))
def test_nonfinite_queries_without_visible_keys(
    subject: Subject, what: float, description: Description
) -> None:
    """Spec §8.4: a query without visible keys gives zeros and precision zero, whatever it holds.

    Other rows stay the same to 8 ε times the condition of the problem.
    """
    problem = completed(sample_problem(description))
    blind = np.arange(4)[:, None] == 0
    bad = replace(
        problem,
        query=poison(problem.query, blind, what),
        anchor=None if problem.anchor is None else poison(problem.anchor, blind, what),
    )
    (mean, precision), (same, also) = run_estimate(problem, subject), run_estimate(bad, subject)
    tolerance = 8 * problem.eps * condition(problem)
    assert not np.any(same[..., 0, :])
    subject.assert_close(same, mean, tolerance)
    for got, expected in zip(parts(also), parts(precision), strict=True):
        subject.assert_close(got, expected, tolerance)
