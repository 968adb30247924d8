"""Partial results over sets of keys merge in any order to the whole (spec §9)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import afa_core
from afa_conformance.descriptions import TIMES, Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.laws.decoding.steps import assert_same, rows_of, with_powers
from afa_conformance.problems import DrawnProblem, completed, condition
from afa_conformance.runner import arguments, fetch, parts, read, run_estimate, send
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject
from afa_core import RadialTangential

SPLIT = descriptions(causal=False, queries=4, keys=5, anchored=True)
CORRELATED = descriptions(
    queries=4, keys=5, anchored=True, times=[*TIMES], correlated=True, query_variance=[False, True]
)


def partial_state(
    problem: DrawnProblem, keys: Sequence[int] | NDArray[Any], subject: Subject
) -> Any:
    """Return the partial state of some of the keys, in arrays of the library."""
    chosen = list(keys)
    mask = problem.mask
    part = replace(
        problem,
        key=problem.key[..., chosen, :],
        value=problem.value[..., chosen, :],
        key_times=problem.key_times[..., chosen],
        mask=None if mask is None else mask[..., chosen],
    )
    positional, options = arguments(send(part, subject))
    return afa_core.partial_attention(*positional, **options)


def estimate_of(state: Any, problem: DrawnProblem, subject: Subject) -> tuple[Any, Any]:
    """Return the estimate of a state in NumPy."""
    mean, precision = afa_core.finish(state)
    return read(mean, problem, subject), fetch(precision, subject)


def numbers(state: Any, subject: Subject) -> list[Any]:
    """Return the arrays of a state in NumPy."""
    states = state if isinstance(state, RadialTangential) else (state,)
    states = (*states, *(one.prior for one in states if one.prior is not None))
    return [subject.to_numpy(x) for one in states for x in one[:4]]


def correlated_state(problem: DrawnProblem, parts: Sequence[slice], subject: Subject) -> list[Any]:
    """Return the partial states of parts of correlated keys, with the gains of all of them."""
    (query, key, value, sde), options = arguments(send(problem, subject))
    times = options.pop("query_times"), options.pop("key_times")
    mask, causal = options.pop("mask", None), options.pop("causal")
    key_mask = None if mask is None else mask[..., 0, :]
    influence = afa_core.key_influence(*times, sde, key_mask=key_mask, causal=causal)
    return [
        afa_core.partial_attention(
            query,
            key[..., keys, :],
            value[..., keys, :],
            sde,
            influence=influence.part(keys),
            **options,
        )
        for keys in parts
    ]


def correlated_problem(description: Description) -> DrawnProblem:
    """Return a problem of correlated keys, some of them later than queries if not causal."""
    problem = completed(sample_problem(description))
    if problem.causal:
        return problem
    order = np.random.default_rng(description.seed).permutation(5)
    return replace(problem, key_times=problem.key_times[..., order])


@pytest.mark.many_shapes
@drawn(description=SPLIT)
def test_split_keys_merge_to_the_whole(subject: Subject, description: Description) -> None:
    """Spec §9: over any split of the keys, merged partial states give attention over all keys.

    To 8 ε times the condition of the problem.
    """
    problem = completed(sample_problem(description))
    order = np.random.default_rng(description.seed).permutation(5)
    states = [partial_state(problem, keys, subject) for keys in np.split(order, [1, 3])]
    whole = afa_core.merge(afa_core.merge(states[2], states[0]), states[1])
    assert_same(
        estimate_of(whole, problem, subject), run_estimate(problem, subject), problem, subject
    )


@pytest.mark.many_shapes
@drawn(description=SPLIT)
def test_merging_is_associative_and_commutative(subject: Subject, description: Description) -> None:
    """Spec §9: merging is bitwise commutative, and associative to rounding.

    To 8 ε times the condition of the problem, also where a row has no visible key in a part.
    """
    problem = completed(sample_problem(description))
    a, b, c = (partial_state(problem, keys, subject) for keys in ([0, 1], [2, 3], [4]))
    merge = afa_core.merge
    both = (numbers(each, subject) for each in (merge(a, b), merge(b, a)))
    for one, other in zip(*both, strict=True):
        np.testing.assert_array_equal(one, other)
    left, right = merge(merge(a, b), c), merge(a, merge(b, c))
    tolerance = 8 * problem.eps * condition(problem)
    for one, other in zip(numbers(left, subject), numbers(right, subject), strict=True):
        subject.assert_close(one, other, tolerance)


@pytest.mark.many_shapes
@drawn(description=CORRELATED)
def test_parts_of_correlated_keys(subject: Subject, description: Description) -> None:
    """Spec §14: parts with the influence of the whole sequence merge to attention, in any order.

    The prior's mean counts once. To 8 ε times the condition of the problem.
    """
    problem = correlated_problem(description)
    parts = slice(3, 5), slice(0, 0), slice(0, 1), slice(1, 3)
    whole = reduce(afa_core.merge, correlated_state(problem, parts, subject))
    assert_same(
        estimate_of(whole, problem, subject), run_estimate(problem, subject), problem, subject
    )


@pytest.mark.asserts
@pytest.mark.many_shapes
@drawn(description=CORRELATED)
def test_merging_of_correlated_keys(subject: Subject, description: Description) -> None:
    """Spec §14: states of correlated keys merge bitwise commutatively; empty ones are neutral."""
    problem = correlated_problem(description)
    a, b, empty = correlated_state(problem, (slice(0, 2), slice(2, 5), slice(0, 0)), subject)
    merge = afa_core.merge
    for pair in ((merge(a, b), merge(b, a)), (merge(a, empty), a), (merge(empty, a), a)):
        for one, other in zip(*(numbers(each, subject) for each in pair), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.asserts
@pytest.mark.many_shapes
@drawn(description=SPLIT)
def test_empty_state_is_the_identity(subject: Subject, description: Description) -> None:
    """Spec §9: merging with the state of no keys changes nothing, bitwise, on either side.

    Two empty states merge to zero, with precision zero.
    """
    problem = completed(sample_problem(description))
    state, empty = (partial_state(problem, keys, subject) for keys in ([0, 2, 3], []))
    expected = numbers(state, subject)
    for merged in (afa_core.merge(state, empty), afa_core.merge(empty, state)):
        for one, other in zip(numbers(merged, subject), expected, strict=True):
            np.testing.assert_array_equal(one, other)
    mean, precision = estimate_of(afa_core.merge(empty, empty), problem, subject)
    assert not np.any(mean)
    assert not any(np.any(x) for x in parts(precision))


@pytest.mark.many_shapes
@drawn(description=descriptions(causal=True, queries=5, keys=5, anchored=True, masked=False))
def test_own_block_is_causal(subject: Subject, description: Description) -> None:
    """Spec §9: in a ring, earlier blocks of keys are visible whole, the own block causally.

    Merged they equal causal attention, to 8 ε times the condition of the problem.
    """
    problem = completed(sample_problem(description))
    last = replace(
        problem,
        query=problem.query[..., 2:, :],
        query_times=problem.query_times[..., 2:],
        anchor=None if problem.anchor is None else problem.anchor[..., 2:, :],
    )
    before = partial_state(replace(last, causal=False), [0, 1], subject)
    own = partial_state(last, [2, 3, 4], subject)
    found = estimate_of(afa_core.merge(before, own), problem, subject)
    assert_same(found, run_estimate(problem, subject), problem, subject, slice(2, None))


@pytest.mark.many_shapes
@drawn(description=descriptions(causal=False, queries=4, keys=5, anchored=True, masked=True))
def test_hidden_keys_have_no_effect(subject: Subject, description: Description) -> None:
    """Spec §13: NaN and inf in keys hidden from all rows have no effect on merged partial states.

    To 8 ε times the condition of the problem.
    """
    problem = completed(sample_problem(description))
    expected = run_estimate(problem, subject)
    hidden = np.arange(5)[:, None] == 4  # the last is hidden from all
    nonfinite = replace(
        problem,
        key=np.where(hidden, np.nan, problem.key),
        value=np.where(hidden, np.inf, problem.value),
    )
    states = [partial_state(nonfinite, keys, subject) for keys in ([0, 4], [1, 2, 3])]
    assert_same(estimate_of(afa_core.merge(*states), problem, subject), expected, problem, subject)


@pytest.mark.many_shapes
@drawn(description=descriptions(causal=False, queries=4, keys=5, anchored=True, masked=False))
def test_infinite_values_hidden_from_a_row(subject: Subject, description: Description) -> None:
    """Spec §13: an infinite value has no effect on rows from which it is hidden.

    Although it is visible to another row. To 8 ε times the condition of the problem.
    """
    problem = completed(sample_problem(description))
    mask = np.ones((4, 5), dtype=bool)
    mask[:3, 4] = False
    problem = replace(problem, mask=mask)
    expected = run_estimate(problem, subject)
    last = np.arange(5)[:, None] == 4
    nonfinite = replace(problem, value=np.where(last, np.inf, problem.value))
    with np.errstate(invalid="ignore"):  # the row to which it is visible
        states = [partial_state(nonfinite, keys, subject) for keys in ([0, 4], [1, 2, 3])]
        mean, precision = estimate_of(afa_core.merge(*states), problem, subject)
    rows = slice(0, 3)
    assert_same(rows_of(mean, precision, problem, rows), expected, problem, subject, rows)


@pytest.mark.many_shapes
@drawn(
    description=descriptions(
        causal=False, queries=4, keys=5, anchored=True, masked=False, size="distant",
        noise="ordinary", decay="ordinary", weighting=["student", "gaussian"],
    )
)  # fmt: skip
def test_parts_of_different_peaks(subject: Subject, description: Description) -> None:
    """Spec §9: partial states whose weights differ by any factor merge to the whole.

    To 8 ε times the condition of the problem.
    """
    problem = completed(sample_problem(description))
    if description.seed % 2:
        problem = with_powers(problem, description.seed)
    states = [partial_state(problem, [key], subject) for key in range(5)]
    whole = states[0]
    for state in states[1:]:
        whole = afa_core.merge(whole, state)
    assert_same(
        estimate_of(whole, problem, subject), run_estimate(problem, subject), problem, subject
    )
