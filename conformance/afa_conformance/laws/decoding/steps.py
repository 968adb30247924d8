"""Decodes a problem step by step on the library under test."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

import afa_core
from afa_conformance.comparisons import assert_estimate
from afa_conformance.laws.estimates.rates import layout_of
from afa_conformance.problems import DrawnProblem, condition
from afa_conformance.runner import PerForm, fetch, parts, read, send
from afa_conformance.subject import Subject
from afa_core import DecodeCache, DiagonalSDE, RadialTangential, StudentT

Results: TypeAlias = tuple[NDArray[Any], PerForm]
"""Mean and precision, in NumPy."""


def at_own_times(problem: DrawnProblem) -> DrawnProblem:
    """Return the problem with queries at the times of their tokens."""
    return replace(problem, query_times=problem.key_times)


def with_powers(problem: DrawnProblem, seed: int) -> DrawnProblem:
    """Return the problem with an integer ν_s, so that weights may be computed as powers."""
    return replace(problem, weighting=StudentT(float(1 + seed % 8)), inverse_temperature=1.0)


def cut(problem: DrawnProblem, tokens: slice) -> DrawnProblem:
    """Return the problem of some of the tokens."""

    def rows(x: Any) -> Any:
        return None if x is None else x[..., tokens, :]

    def times(x: Any) -> Any:
        return None if x is None else x[..., tokens]

    variance = problem.query_variance
    if isinstance(variance, RadialTangential):
        variance = RadialTangential(*map(times, variance))
    else:
        variance = rows(variance) if isinstance(problem.sde, DiagonalSDE) else times(variance)
    return replace(
        problem,
        query=rows(problem.query),
        key=rows(problem.key),
        value=rows(problem.value),
        anchor=rows(problem.anchor),
        query_times=times(problem.query_times),
        key_times=times(problem.key_times),
        query_variance=variance,
    )


def prompt(
    sent: DrawnProblem, tokens: int, *, capacity: int | None = None, mask: Any = None
) -> DecodeCache:
    """Return the cache of the first tokens of a sent problem; `mask` is (..., n)."""
    first = cut(sent, slice(0, tokens))
    make = DecodeCache.of
    if not tokens:
        first, make = sent, DecodeCache.empty
    first_mask = None if mask is None else mask[..., : first.key.shape[-2]]
    return make(
        first.key,
        first.value,
        first.sde,
        times=first.key_times,
        mask=first_mask,
        capacity=capacity,
        correlated=sent.correlated,
        **layout_of(sent),
    )


def step(sent: DrawnProblem, cache: DecodeCache, tokens: slice, mask: Any = None) -> Any:
    """Return the estimate of some tokens of a sent problem, and the cache with them appended."""
    chunk = cut(sent, tokens)
    return afa_core.estimate_step(
        chunk.query,
        chunk.key,
        chunk.value,
        chunk.sde,
        cache,
        weighting=chunk.weighting,
        inverse_temperature=chunk.inverse_temperature,
        time=chunk.key_times,
        mask=None if mask is None else mask[..., tokens],
        anchor=chunk.anchor,
        correlated=chunk.correlated,
        query_variance=chunk.query_variance,
        tolerance=chunk.tolerance,
        **layout_of(chunk),
    )


def pieces(start: int, sizes: Sequence[int]) -> Iterator[slice]:
    """Yield consecutive slices of these sizes."""
    for size in sizes:
        yield slice(start, start + size)
        start += size


def decode(
    problem: DrawnProblem,
    subject: Subject,
    sizes: Sequence[int],
    *,
    first: int = 0,
    capacity: int | None = None,
    mask: NDArray[np.bool_] | None = None,
) -> Results:
    """Return mean and precision of all tokens after the first, in steps of these sizes."""
    sent = send(problem, subject)
    sent_mask = None if mask is None else subject.from_numpy(mask)
    cache = prompt(sent, first, capacity=capacity, mask=sent_mask)
    found = []
    for tokens in pieces(first, sizes):
        estimate, cache = step(sent, cache, tokens, sent_mask)
        found.append((read(estimate.mean, problem, subject), fetch(estimate.precision, subject)))
    return concatenated(found, problem)


def concatenated(found: Sequence[Results], problem: DrawnProblem) -> Results:
    """Concatenate the results of steps."""
    axis = -2 if isinstance(problem.sde, DiagonalSDE) else -1
    means, precisions = zip(*found, strict=True)
    columns = [np.concatenate(x, axis) for x in zip(*map(parts, precisions), strict=True)]
    return np.concatenate(means, -2), RadialTangential(*columns) if columns[1:] else columns[0]


def rows_of(mean: NDArray[Any], precision: PerForm, problem: DrawnProblem, rows: slice) -> Results:
    """Return some rows of mean and precision."""
    per_mode = isinstance(problem.sde, DiagonalSDE)
    found = [x[..., rows, :] if per_mode else x[..., rows] for x in parts(precision)]
    return mean[..., rows, :], RadialTangential(*found) if found[1:] else found[0]


def assert_same(
    found: Results,
    expected: Results,
    problem: DrawnProblem,
    subject: Subject,
    rows: slice = slice(None),
) -> None:
    """Assert that mean and precision are those rows, to 8 ε times the condition of the problem."""
    tolerance = 8 * problem.eps * condition(problem)
    assert_estimate(found, rows_of(expected[0], expected[1], problem, rows), tolerance, subject)
