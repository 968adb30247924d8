"""Masked keys have no effect, not even as NaN or inf (spec §8.4, §13)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from afa_conformance.comparisons import assert_estimate
from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.problems import DrawnProblem, completed, condition, visibility
from afa_conformance.runner import parts, run_estimate
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject

NONFINITE = [np.nan, np.inf, -np.inf]


def replaced(x: NDArray[Any], where: NDArray[np.bool_], number: float) -> NDArray[Any]:
    """Return an array with one number where a mask is true."""
    return np.where(where, x.dtype.type(number), x)


def rows_attending(problem: DrawnProblem, mean: NDArray[Any], token: int) -> NDArray[np.bool_]:
    """Return to which rows of an estimate a key is visible, (..., n)."""
    return np.broadcast_to(visibility(problem), (*mean.shape[:-1], 4))[..., token]


@pytest.mark.parametrize("number", NONFINITE)
@drawn(description=descriptions(correlated=[False, True], masked=True))
def test_masked_keys_have_no_effect(
    subject: Subject, number: float, description: Description
) -> None:
    """Spec §13: keys hidden from every query have no effect, whatever they and their times are.

    Estimate and precision stay the same to 8 ε times the condition of the problem.
    """
    problem = completed(sample_problem(description))
    hidden = ~np.any(visibility(problem), axis=-2)  # (..., m)
    hidden = np.all(hidden, axis=tuple(range(hidden.ndim - 1)))  # (m,)
    times = problem.key_times
    changed = replace(
        problem,
        key=replaced(problem.key, hidden[:, None], number),
        value=replaced(problem.value, hidden[:, None], number),
        key_times=replaced(times, hidden, number) if times.dtype.kind == "f" else times,
    )
    expected = run_estimate(problem, subject)
    tolerance = 8 * problem.eps * condition(problem)
    assert_estimate(run_estimate(changed, subject), expected, tolerance, subject)


@drawn(
    description=descriptions(
        correlated=[False, True], queries=4, keys=4, masked=False,
        times=["regular", "irregular", "tied"],
    )
)  # fmt: skip
def test_far_time_of_a_masked_token(subject: Subject, description: Description) -> None:
    """Spec §8.4: the time of a token that is hidden as a key has no effect on other rows.

    It is finite, but beyond what single precision represents. Estimate and precision of these rows
    stay the same to 8 ε times the condition of the problem.
    """
    problem = completed(sample_problem(description))
    hidden = np.arange(4) == description.seed % 4
    problem = replace(problem, mask=~hidden[None, :])
    far = 1e300 if subject.wide else 1e30
    changed = replace(
        problem,
        query_times=replaced(problem.query_times, hidden, far),
        key_times=replaced(problem.key_times, hidden, far),
    )
    mean, precision = run_estimate(problem, subject)
    found_mean, found_precision = run_estimate(changed, subject)
    others = np.broadcast_to(~hidden, mean.shape[:-1])
    tolerance = 8 * problem.eps * condition(problem)
    subject.assert_close(found_mean[others], mean[others], tolerance)
    for got, expected in zip(parts(found_precision), parts(precision), strict=True):
        subject.assert_close(got[others], expected[others], tolerance)


@drawn(description=descriptions(masked=True))
def test_masking_is_removal(subject: Subject, description: Description) -> None:
    """Spec §8.4: hiding a key from every query gives the result of removing it.

    Estimate and precision, to 8 ε times the condition of the problem.
    """
    problem = completed(sample_problem(description))
    if problem.key.shape[-2] == 1:
        return
    without_last = replace(
        problem,
        key=problem.key[..., :-1, :],
        value=problem.value[..., :-1, :],
        key_times=problem.key_times[..., :-1],
        mask=visibility(problem)[..., :-1],
        causal=False,
    )
    expected = run_estimate(problem, subject)
    tolerance = 8 * problem.eps * condition(problem)
    assert_estimate(run_estimate(without_last, subject), expected, tolerance, subject)


@pytest.mark.parametrize("number", NONFINITE)
@drawn(description=descriptions(queries=4, keys=4, masked=[False, True]))
def test_nonfinite_keys_hidden_from_a_row(
    subject: Subject, number: float, description: Description
) -> None:
    """Spec §13: a non-finite key has no effect on rows it is hidden from, visible to others or not.

    Estimate and precision stay the same to 8 ε times the condition of the problem.
    """
    problem = completed(sample_problem(description))
    token = description.seed % 4
    chosen = np.arange(4)[:, None] == token
    changed = replace(
        problem,
        key=replaced(problem.key, chosen, number),
        value=replaced(problem.value, chosen, number),
    )
    mean, precision = run_estimate(problem, subject)
    with np.errstate(invalid="ignore"):  # rows that attend to the key
        found_mean, found_precision = run_estimate(changed, subject)
    others = ~rows_attending(problem, mean, token)
    tolerance = 8 * problem.eps * condition(problem)
    subject.assert_close(found_mean[others], mean[others], tolerance)
    for got, expected in zip(parts(found_precision), parts(precision), strict=True):
        subject.assert_close(got[others], expected[others], tolerance)


@pytest.mark.asserts
@drawn(description=descriptions(correlated=[False, True], queries=4, keys=4, masked=[False, True]))
def test_nan_values_propagate_to_rows_that_attend(
    subject: Subject, description: Description
) -> None:
    """Spec §8.4: NaN in a value makes every row NaN to which it is visible, and no other row."""
    problem = completed(sample_problem(description))
    token = description.seed % 4
    chosen = np.arange(4)[:, None] == token
    with np.errstate(invalid="ignore"):
        changed = replace(problem, value=replaced(problem.value, chosen, np.nan))
        mean, _ = run_estimate(changed, subject)
    attending = rows_attending(problem, mean, token)
    assert np.all(np.isnan(mean[attending]))
    assert np.all(np.isfinite(mean[~attending]))


@pytest.mark.parametrize("number", NONFINITE)
@drawn(description=descriptions(masked=True, queries=4, keys=4))
def test_nonfinite_queries_without_visible_keys(
    subject: Subject, number: float, description: Description
) -> None:
    """Spec §8.4: a query without visible keys gives zeros and precision zero, whatever it is.

    Other rows stay the same to 8 ε times the condition of the problem.
    """
    problem = completed(sample_problem(description))
    first = np.arange(4)[:, None] == 0
    anchor = problem.anchor
    changed = replace(
        problem,
        query=replaced(problem.query, first, number),
        anchor=None if anchor is None else replaced(anchor, first, number),
    )
    expected, found = run_estimate(problem, subject), run_estimate(changed, subject)
    assert not np.any(found[0][..., 0, :])
    assert_estimate(found, expected, 8 * problem.eps * condition(problem), subject)
