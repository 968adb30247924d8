"""A sequence decoded step by step, on the library under test, and read back into NumPy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import afa_core
from afa_conformance.laws.estimates.rates import layout_of
from afa_conformance.problems import DrawnProblem, condition
from afa_conformance.runner import fetch, parts, read, send
from afa_conformance.subject import Subject
from afa_core import DecodeCache, DiagonalSDE, RadialTangential, StudentT


def at_own_times(problem: DrawnProblem) -> DrawnProblem:
    """Return the problem whose queries come at the times of their tokens."""
    return replace(problem, query_times=problem.key_times)


def with_powers(problem: DrawnProblem, seed: int) -> DrawnProblem:
    """Return the problem with a weight that is a product of integer powers."""
    return replace(problem, weighting=StudentT(float(1 + seed % 8)), inverse_temperature=1.0)


def cut(problem: DrawnProblem, tokens: slice) -> DrawnProblem:
    """Return some of the tokens of a problem."""

    def rows(x: Any) -> Any:
        return None if x is None else x[..., tokens, :]

    def times(x: Any) -> Any:
        return None if x is None else x[..., tokens]

    return replace(
        problem,
        query=rows(problem.query),
        key=rows(problem.key),
        value=rows(problem.value),
        anchor=rows(problem.anchor),
        query_times=times(problem.query_times),
        key_times=times(problem.key_times),
    )


def prompt(
    sent: DrawnProblem, tokens: int, *, capacity: int | None = None, mask: Any = None
) -> DecodeCache:
    """Return the cache of the first tokens of a problem that was sent; `mask` is (..., n)."""
    first = cut(sent, slice(0, tokens))
    make = DecodeCache.of
    if not tokens:
        first, make = sent, DecodeCache.empty
    seen = None if mask is None else mask[..., : first.key.shape[-2]]
    return make(
        first.key,
        first.value,
        first.sde,
        times=first.key_times,
        mask=seen,
        capacity=capacity,
        **layout_of(sent),
    )


def step(sent: DrawnProblem, cache: DecodeCache, tokens: slice, mask: Any = None) -> Any:
    """Return the estimate of some tokens of a problem that was sent, and the cache with them."""
    own = cut(sent, tokens)
    return afa_core.estimate_step(
        own.query,
        own.key,
        own.value,
        own.sde,
        cache,
        weighting=own.weighting,
        inverse_temperature=own.inverse_temperature,
        time=own.key_times,
        mask=None if mask is None else mask[..., tokens],
        anchor=own.anchor,
        **layout_of(own),
    )


def pieces(start: int, sizes: Sequence[int]) -> Iterator[slice]:
    """Cut tokens into pieces of these sizes, one after another."""
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
) -> tuple[NDArray[Any], Any]:
    """Return mean and precision of what comes after the first tokens, in steps of these sizes."""
    sent = send(problem, subject)
    seen = None if mask is None else subject.from_numpy(mask)
    cache = prompt(sent, first, capacity=capacity, mask=seen)
    found = []
    for tokens in pieces(first, sizes):
        estimate, cache = step(sent, cache, tokens, seen)
        found.append((read(estimate.mean, problem, subject), fetch(estimate.precision, subject)))
    return joined(found, problem)


def joined(found: Sequence[tuple[Any, Any]], problem: DrawnProblem) -> tuple[NDArray[Any], Any]:
    """Put the results of steps one after another."""
    axis = -2 if isinstance(problem.sde, DiagonalSDE) else -1
    means, precisions = zip(*found, strict=True)
    columns = [np.concatenate(x, axis) for x in zip(*map(parts, precisions), strict=True)]
    return np.concatenate(means, -2), RadialTangential(*columns) if columns[1:] else columns[0]


def rows_of(
    mean: NDArray[Any], precision: Any, problem: DrawnProblem, rows: slice
) -> tuple[NDArray[Any], Any]:
    """Return some rows of results."""
    per_mode = isinstance(problem.sde, DiagonalSDE)
    found = [x[..., rows, :] if per_mode else x[..., rows] for x in parts(precision)]
    return mean[..., rows, :], RadialTangential(*found) if found[1:] else found[0]


def assert_same(
    found: Any, expected: Any, problem: DrawnProblem, subject: Subject, rows: slice = slice(None)
) -> None:
    """Assert that results are some rows of those expected, to the problem's rounding."""
    mean, precision = found
    whole, claim = rows_of(expected[0], expected[1], problem, rows)
    tolerance = 8 * problem.eps * condition(problem)
    subject.assert_close(mean, whole, tolerance)
    for got, each in zip(parts(precision), parts(claim), strict=True):
        subject.assert_close(got, each, tolerance)
