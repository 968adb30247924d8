"""The order of tokens carries no information beside their times (spec §13)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.problems import DrawnProblem, completed, condition, weights_condition
from afa_conformance.runner import applied_weights, key_axis, parts, run_attention
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject


def with_keys_in_order(problem: DrawnProblem, order: NDArray[Any]) -> DrawnProblem:
    """Return the problem with its keys permuted, and their times, values and mask with them."""
    return replace(
        problem,
        key=problem.key[..., order, :],
        value=problem.value[..., order, :],
        key_times=problem.key_times[..., order],
        mask=None if problem.mask is None else problem.mask[..., order],
    )


@drawn(description=descriptions(correlated=[False, True], causal=False))
def test_order_of_keys(subject: Subject, description: Description) -> None:
    """Spec §13: permuting keys with times, values and mask keeps x̂ and permutes the weights.

    The estimate to 8 ε times the condition of the problem, the weights to 8 ε times their own.
    """
    problem = completed(sample_problem(description))
    order = np.random.default_rng(description.seed).permutation(problem.key.shape[-2])
    permuted = with_keys_in_order(problem, order)
    expected = run_attention(problem, subject)
    subject.assert_close(
        run_attention(permuted, subject), expected, 8 * problem.eps * condition(problem)
    )
    tolerance = 8 * problem.eps * weights_condition(problem)
    permuted_weights, weights = (
        parts(applied_weights(each, subject)) for each in (permuted, problem)
    )
    for got, expected in zip(permuted_weights, weights, strict=True):
        subject.assert_close(got, np.take(expected, order, axis=key_axis(problem)), tolerance)


@drawn(description=descriptions(causal=False))
def test_order_of_queries(subject: Subject, description: Description) -> None:
    """Spec §3: permuting queries with times, anchors and mask permutes the estimates.

    To 8 ε times the condition of the problem.
    """
    problem = completed(sample_problem(description))
    order = np.random.default_rng(description.seed).permutation(problem.query.shape[-2])
    permuted = replace(
        problem,
        query=problem.query[..., order, :],
        anchor=None if problem.anchor is None else problem.anchor[..., order, :],
        query_times=problem.query_times[..., order],
        mask=None if problem.mask is None else problem.mask[..., order, :],
    )
    expected = run_attention(problem, subject)[..., order, :]
    subject.assert_close(
        run_attention(permuted, subject), expected, 8 * problem.eps * condition(problem)
    )
