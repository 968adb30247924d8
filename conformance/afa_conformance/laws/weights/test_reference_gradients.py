"""Derivatives are those of the reference (spec §9, §13)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray

import afa_core
from afa_conformance.closeness import assert_close
from afa_conformance.descriptions import FORMS, Description, descriptions, fewer
from afa_conformance.numerics import complex_normal
from afa_conformance.problems import Problem, completed, condition, leaves, with_leaves
from afa_conformance.realising import realise
from afa_conformance.sending import arguments, parameter_dtype, parts, run, send, write_modes
from afa_conformance.subject import Subject

LENGTHS = (24, 37)
GREATEST_TILE = 512
LATE = 0.3

SMOOTH = descriptions(
    form=None, leading=(), sharing="each", noise="ordinary", decay=["ordinary", "zero"],
    times=["regular", "irregular"], temperature="array", layout="interleaved",
    rotation="own", anchored=True,
)  # fmt: skip


@dataclass(frozen=True)
class Functional:
    """A random linear function of the mean and, if there is one, of the precision."""

    mean: Any
    precision: tuple[Any, ...]

    @classmethod
    def draw(cls, problem: Problem, subject: Subject) -> Functional:
        description = problem.description
        assert description is not None
        rng = np.random.default_rng(description.seed)
        n = problem.query.shape[-2]
        dtype = np.dtype(parameter_dtype(problem))
        mean = write_modes(complex_normal(rng, (n, problem.value_modes)), "interleaved", dtype)
        shape = (n, problem.modes) if description.form == "diagonal" else (n,)
        sides = 2 if description.form == "radial_tangential" else 1
        sent = [subject.from_numpy(rng.normal(size=shape).astype(dtype)) for _ in range(sides)]
        return cls(subject.from_numpy(mean), tuple(sent))

    def of(self, result: Any, *, estimated: bool) -> Any:
        mean, precision = result if estimated else (result, None)
        total = (mean * self.mean).sum()
        for weight, each in zip(self.precision, parts(precision), strict=estimated):
            total = total + (weight * each).sum()
        return total


def differentiable(description: Description) -> Problem:
    """Return a problem without kinks, all of its numbers arrays: every query comes late."""
    problem = completed(realise(description))
    problem = replace(problem, query_times=problem.query_times + LATE)
    floats = {name: np.asarray(x) for name, x in leaves(problem).items() if isinstance(x, float)}
    return with_leaves(problem, floats)


def gradients(
    problem: Problem, function: Callable[..., Any], functional: Functional, subject: Subject
) -> dict[str, NDArray[Any]]:
    """Return the derivatives of a functional of a function, in every argument but the mask."""
    assert subject.grad is not None
    sent = send(problem, subject)
    arrays = {name: x for name, x in leaves(sent).items() if name != "mask"}
    estimated = subject.estimate is not None

    def value(*changed: Any) -> Any:
        given = with_leaves(sent, dict(zip(arrays, changed, strict=True)))
        return functional.of(run(function, given, subject), estimated=estimated)

    found = subject.grad(value, *arrays.values())
    return {name: np.asarray(subject.to_numpy(x)) for name, x in zip(arrays, found, strict=True)}


def lengths(subject: Subject) -> tuple[int, int]:
    """Return numbers of queries and of keys in the tens, across a tile where it has a small one."""
    tiles = [each for each in subject.tiles if each <= GREATEST_TILE]
    return (max(tiles) + 1,) * 2 if tiles else LENGTHS


@pytest.mark.needs("gradients")
@pytest.mark.parametrize("form", FORMS)
@fewer(3)
@given(description=SMOOTH)
def test_gradients_of_the_reference(subject: Subject, form: str, description: Description) -> None:
    """Spec §13: in tokens, times and every parameter, what differentiating the reference gives.

    To 16 roundings times the condition of the problem, of the largest entry of each and a
    hundredth of the largest of all: some vanish by cancelling.
    """
    queries, keys = lengths(subject)
    problem = differentiable(description.having(form=form, queries=queries, keys=keys))
    if subject.own:
        positional, options = arguments(send(problem, subject))
        chosen = afa_core.explain(*positional, **options, implementation=subject.implementation)
        if chosen.chosen == "reference":
            pytest.skip("it is the reference")
    functional = Functional.draw(problem, subject)
    has_precision = subject.estimate is not None
    reference = partial(
        afa_core.estimate if has_precision else afa_core.attention, implementation="reference"
    )
    own = subject.estimate if has_precision else subject.attention
    assert own is not None
    expected = gradients(problem, reference, functional, replace(subject, compiled=False))
    found = gradients(problem, own, functional, subject)
    assert set(found) == set(expected)
    largest = {name: float(np.max(np.abs(x))) for name, x in expected.items()}
    least = 1e-2 * max(largest.values())
    for name, exact in expected.items():
        tolerance = 16 * problem.eps * condition(problem)
        assert_close(found[name], exact, tolerance, scale=largest[name] + least)
