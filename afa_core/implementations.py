"""The implementations of attention, which of them can run a problem, and which one would."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from afa_core import linear
from afa_core.arrays import Namespace
from afa_core.pairs import Pair
from afa_core.problem import Problem
from afa_core.reference import materialise


class Implementation(NamedTuple):
    """A way to evaluate attention.

    `refusal` returns why a problem cannot be run, or an empty string; `run` returns the mean
    as pairs and the precision; `reservation` returns why ``auto`` leaves a problem that can be
    run to another implementation, or an empty string.
    """

    name: str
    refusal: Callable[[Problem], str]
    run: Callable[[Problem, Namespace], tuple[Pair, Any]]
    reservation: Callable[[Problem], str] = lambda problem: ""


def _run_reference(problem: Problem, xp: Namespace) -> tuple[Pair, Any]:
    result = materialise(problem, xp=xp)
    return result.mean, result.precision


def _run_linear(problem: Problem, xp: Namespace) -> tuple[Pair, Any]:
    return linear.linear(problem, xp=xp)


IMPLEMENTATIONS = (
    Implementation("linear", linear.refusal, _run_linear, linear.reservation),
    Implementation("reference", lambda problem: "", _run_reference),
)
"""In the order in which `auto` prefers them."""


class Explanation(NamedTuple):
    """Which implementation would run, and why each of the others would not.

    Parameters
    ----------
    chosen : str
        Name of the implementation that would run.
    others : dict
        From the name of every other implementation to the reason it is not chosen.
    """

    chosen: str
    others: dict[str, str]


def choose(name: str, problem: Problem) -> Implementation:
    """Return the implementation of that name, or with ``auto`` the first without objections.

    Raises
    ------
    ValueError
        If the name is unknown, or the implementation cannot run the problem; says why.
    """
    names = ["auto", *(each.name for each in IMPLEMENTATIONS)]
    if not (isinstance(name, str) and name in names):
        listed = ", ".join(repr(each) for each in names)
        msg = f"`implementation` must be one of {listed}, got {name!r}."
        raise ValueError(msg)
    if name == "auto":
        return next(each for each in IMPLEMENTATIONS if not _objection(each, problem))
    chosen = next(each for each in IMPLEMENTATIONS if each.name == name)
    if refusal := chosen.refusal(problem):
        msg = f"`implementation` {name!r} cannot run this problem: {refusal}"
        raise ValueError(msg)
    return chosen


def explain_choice(name: str, problem: Problem) -> Explanation:
    """Return the choice with the reasons against the others."""
    chosen = choose(name, problem)
    others = {
        each.name: _objection(each, problem) or f"{chosen.name!r} is preferred"
        for each in IMPLEMENTATIONS
        if each is not chosen
    }
    return Explanation(chosen.name, others)


def _objection(each: Implementation, problem: Problem) -> str:
    """Return why ``auto`` does not choose an implementation, or an empty string."""
    return each.refusal(problem) or each.reservation(problem)
