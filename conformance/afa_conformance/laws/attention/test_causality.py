"""Causal attention does not depend on later tokens (spec §8.4)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.problems import condition
from afa_conformance.runner import applied_weights, key_axis, parts, run_estimate
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject

ANCHORED = descriptions(
    correlated=[False, True], causal=True, anchored=True, masked=False, queries=4, keys=4
)


@pytest.mark.parametrize("what", [np.nan, np.inf, 1e3])
@drawn(description=ANCHORED)
def test_future_tokens_have_no_effect(
    subject: Subject, what: float, description: Description
) -> None:
    """Spec §8.4, §13: row i does not depend on the tokens after it, NaN and inf included.

    Estimate and precision stay the same to 8 ε times the condition of the problem.
    """
    problem = sample_problem(description)
    mean, precision = run_estimate(problem, subject)
    tolerance = 8 * problem.eps * condition(problem)
    for row in (0, 2):
        later = np.arange(4)[:, None] > row
        changed = replace(
            problem,
            query=np.where(later, what, problem.query),
            key=np.where(later, what, problem.key),
            value=np.where(later, what, problem.value),
        )
        with np.errstate(invalid="ignore"):  # later rows
            other_mean, other_precision = run_estimate(changed, subject)
        rows = slice(0, row + 1)
        subject.assert_close(other_mean[..., rows, :], mean[..., rows, :], tolerance)
        axis = -2 if description.form == "diagonal" else -1
        for got, expected in zip(parts(other_precision), parts(precision), strict=True):
            found, first = (np.take(each, range(row + 1), axis) for each in (got, expected))
            subject.assert_close(found, first, tolerance)


@pytest.mark.fewer_examples(3)
@drawn(description=ANCHORED)
def test_prefix(subject: Subject, description: Description) -> None:
    """Spec §13: the first tokens alone give the first rows of the estimate.

    To 8 ε times the condition of the problem.
    """
    problem = sample_problem(description)
    mean, _ = run_estimate(problem, subject)
    for length in (1, 3):
        cut = {
            name: getattr(problem, name)[..., :length, :]
            for name in ("query", "key", "value", "anchor")
            if getattr(problem, name) is not None
        }
        if problem.key_times is not None:
            cut["query_times"] = problem.query_times[..., :length]
            cut["key_times"] = problem.key_times[..., :length]
        got, _ = run_estimate(replace(problem, **cut), subject)
        subject.assert_close(got, mean[..., :length, :], 8 * problem.eps * condition(problem))


@pytest.mark.asserts
@drawn(
    description=descriptions(
        correlated=[False, True], causal=True, masked=False, times="tied", queries=4, keys=4
    )
)
def test_equal_times_are_ordered_by_index(subject: Subject, description: Description) -> None:
    """Spec §8.4: key j is visible to query i iff j ≤ i in the sequence, also at equal times.

    Exactly: the weight is positive if it is visible, and zero if not.
    """
    problem = sample_problem(description)
    for weights in parts(applied_weights(problem, subject)):
        by_key = np.moveaxis(weights, key_axis(problem), -1)
        by_key = np.moveaxis(by_key, -3, -2) if description.form == "diagonal" else by_key
        visible = np.tril(np.ones((4, 4), dtype=bool))
        assert np.all((by_key > 0.0) == visible)
