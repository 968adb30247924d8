"""Derivatives are those of the reference (spec §9, §13)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

import afa_core
from afa_conformance.descriptions import FORMS, Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.functionals import Functional, differentiable, gradients
from afa_conformance.problems import DrawnProblem, condition
from afa_conformance.runner import arguments, send
from afa_conformance.subject import Subject
from afa_core import Rational, StudentT

LENGTHS = (24, 37)
MAX_TILE = 512

SMOOTH = descriptions(
    form=None, correlated=[False, True], leading=(), sharing="each", noise="ordinary",
    decay=["ordinary", "zero"],
    times=["regular", "irregular"], temperature="array", layout="interleaved",
    rotation="own", anchored=True,
)  # fmt: skip


def reference(subject: Subject) -> Subject:
    """Return the reference on the same arrays, with an `estimate` if the subject has one."""
    attention = partial(afa_core.attention, implementation="reference")
    estimate = partial(afa_core.estimate, implementation="reference")
    own = None if subject.estimate is None else estimate
    return replace(subject, attention=attention, estimate=own, compiled=False)


def lengths(subject: Subject) -> tuple[int, int]:
    """Return numbers of queries and keys: some tens, or just beyond the largest small tile."""
    tiles = [each for each in subject.tiles if each <= MAX_TILE]
    return (max(tiles) + 1,) * 2 if tiles else LENGTHS


def with_integer_exponent(problem: DrawnProblem) -> DrawnProblem:
    """Return the problem with ν_s = 3 and β = 1, so that weights may be computed as powers."""
    weighting = problem.weighting
    if isinstance(weighting, StudentT | Rational):
        weighting = weighting._replace(dof=3.0)
    return replace(problem, weighting=weighting, inverse_temperature=1.0)


@pytest.mark.needs("gradients")
@pytest.mark.parametrize("exponent", ["array", "integer", "integer, two-sided"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.fewer_examples(3)
@drawn(description=SMOOTH)
def test_gradients_of_the_reference(
    subject: Subject, form: str, exponent: str, description: Description
) -> None:
    """Spec §13: derivatives by tokens, times and every parameter equal the reference's.

    To 32 ε times the condition of the problem, of the largest entry of each derivative plus a tenth
    of the largest of all, since some vanish by cancelling. A weight of a known integer exponent may
    be computed as a power.
    """
    if exponent == "integer, two-sided":  # where the prior has a mean
        if subject.lacks("correlated"):
            pytest.skip(subject.lacks("correlated"))
        description = description.having(correlated=True, causal=False)
    queries, keys = lengths(subject)
    problem = differentiable(description.having(form=form, queries=queries, keys=keys))
    if exponent != "array":
        problem = with_integer_exponent(problem)
    if subject.own:
        positional, options = arguments(send(problem, subject))
        chosen = afa_core.explain(*positional, **options, implementation=subject.implementation)
        if chosen.chosen == "reference":
            pytest.skip("it is the reference")
    functional = Functional.draw(problem, np.random.default_rng(description.seed))
    expected = gradients(problem, functional, reference(subject))
    found = gradients(problem, functional, subject)
    assert set(found) == set(expected)
    largest = {name: float(np.max(np.abs(x))) for name, x in expected.items()}
    least = 1e-1 * max(largest.values())
    for name, exact in expected.items():
        tolerance = 32 * problem.eps * condition(problem)
        subject.assert_close(found[name], exact, tolerance, scale=largest[name] + least)
