"""Changes of a drawn problem that descriptions do not have: extremes, orders, masks, shapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from afa_conformance.problems import (
    DrawnProblem,
    completed,
    core_axes,
    leaves,
    with_leaves,
)

EXTREMES: dict[str, tuple[float, ...]] = {
    "decay": (0.0, 1e-30, 1e-12, 1e-3, 30.0, 1e4),
    "frequency": (0.0, 1e3),
    "process": (1e-12, 1e-6, 1e6),
    "measurement": (1e-12, 1e-6, 1e6),
    "query": (1e-12, 1e-6, 1e6),
    "dof": (0.1, 1.0, 2.0, 100.0, 1e6),
    "inverse_temperature": (0.0, 1e-3, 3.0, 30.0),
}
"""Values of parameters, by the last part of their names."""
FACTORS = (0.0, 1e-6, 100.0)
"""Of queries, keys or values."""
TOLERANCES = (0.0, 1e-6, 1e-3)
PER_SECOND = "sde.decay", "frequency", "process"
NANOSECOND = 1e-9
EPOCH = 1_700_000_000 * 10**9
"""A time in nanoseconds."""
AXIS_OF_QUERIES = {"query": -2, "anchor": -2, "query_times": -1, "mask": -2}
AXIS_OF_KEYS = {"key": -2, "value": -2, "key_times": -1, "mask": -1}


class Scope(NamedTuple):
    """What the function of a call allows.

    Parameters
    ----------
    ordered : bool
        Only problems in the order of time, with masks of keys.
    kept : tuple of str
        Names of parameters that keep their values.
    empty : tuple of str
        What there may be none of: "queries", "keys", "tokens" are both.
    integers : bool
        Whether times may be integers of 64 bits.
    """

    ordered: bool
    kept: tuple[str, ...]
    empty: tuple[str, ...]
    integers: bool


Twist = Callable[[DrawnProblem, np.random.Generator, Scope], tuple[DrawnProblem, str]]
"""Returns the problem with a change and its name, empty if the change does not apply."""


def extreme_parameter(
    problem: DrawnProblem, rng: np.random.Generator, scope: Scope
) -> tuple[DrawnProblem, str]:
    """Set one element of a parameter, or all of them, to an extreme value."""
    found = leaves(problem)
    names = [each for each in found if _last(each) in EXTREMES and _last(each) not in scope.kept]
    names = [each for each in names if each not in ("query",)]
    name = _any(rng, names)
    x = found[name]
    if name.endswith(("process", "measurement", "query")) and not np.all(np.asarray(x) > 0.0):
        return problem, ""  # two without noise have no covariance
    number = _any(rng, EXTREMES[_last(name)])
    if _last(name) == "decay" and number > 1.0 and not _certain(problem):
        return problem, ""
    changed: Any = number
    if isinstance(x, np.ndarray):
        everywhere = rng.random() < 0.5
        changed = np.where(everywhere | (rng.random(x.shape) < 0.5), number, x)
    return with_leaves(problem, {name: changed}), f"{name} {number:g}"


def scaled_tokens(
    problem: DrawnProblem, rng: np.random.Generator, scope: Scope
) -> tuple[DrawnProblem, str]:
    """Multiply the queries, keys or values by a factor, some of them or all."""
    name, factor = _any(rng, ("query", "key", "value")), _any(rng, FACTORS)
    x = getattr(problem, name)
    share = _any(rng, (0.3, 1.0))
    chosen = rng.random((*x.shape[:-1], 1)) < share
    return replace(problem, **{name: np.where(chosen, factor * x, x)}), f"{factor:g} × {name}"


def tolerance(
    problem: DrawnProblem, rng: np.random.Generator, scope: Scope
) -> tuple[DrawnProblem, str]:
    """Allow that far keys are left out."""
    if not problem.correlated or "tolerance" in scope.kept:
        return problem, ""
    number = _any(rng, TOLERANCES)
    return replace(problem, tolerance=number), f"tolerance {number:g}"


def unsorted_times(
    problem: DrawnProblem, rng: np.random.Generator, scope: Scope
) -> tuple[DrawnProblem, str]:
    """Permute the times of queries, and those of keys."""
    if scope.ordered or problem.key_times is None:
        return problem, ""
    query_times, key_times = (
        rng.permuted(x, axis=-1) for x in (problem.query_times, problem.key_times)
    )
    return replace(problem, query_times=query_times, key_times=key_times), "unsorted"


def nanoseconds(
    problem: DrawnProblem, rng: np.random.Generator, scope: Scope
) -> tuple[DrawnProblem, str]:
    """Take seconds as integer nanoseconds of our time, and rates per nanosecond."""
    if not scope.integers:
        return problem, ""
    problem = completed(problem)
    times = {
        name: np.rint(np.asarray(x, dtype=float) * 1e9).astype(np.int64) + EPOCH
        for name, x in leaves(problem).items()
        if name.endswith("_times")
    }
    rates = {
        name: x * NANOSECOND for name, x in leaves(problem).items() if name.endswith(PER_SECOND)
    }
    return with_leaves(problem, times | rates), "nanoseconds"


def other_mask(
    problem: DrawnProblem, rng: np.random.Generator, scope: Scope
) -> tuple[DrawnProblem, str]:
    """Hide pairs, keys, or all keys of some queries, for all leading indices or each."""
    n, m = problem.query.shape[-2], problem.key.shape[-2]
    leading = _any(rng, ((), problem.leading, problem.leading[-1:]))
    kind = "keys" if scope.ordered else _any(rng, ("pairs", "keys", "queries"))
    core = {"pairs": (n, m), "keys": (1, m), "queries": (n, 1)}[kind]
    share = _any(rng, (0.0, 0.3, 0.7, 1.0))
    mask = rng.random((*leading, *core)) < share
    if kind == "queries":
        mask = np.broadcast_to(mask, (*leading, n, m)).copy()
    return replace(problem, mask=mask), f"{share:g} of {kind}"


def no_tokens(
    problem: DrawnProblem, rng: np.random.Generator, scope: Scope
) -> tuple[DrawnProblem, str]:
    """Leave out all queries, all keys, or both."""
    which = _any(rng, scope.empty)
    problem = completed(problem)
    if which != "keys":
        problem = _without(problem, AXIS_OF_QUERIES)
        problem = with_leaves(
            problem,
            {
                name: x[..., :0, :] if core_axes(problem, name) == 2 else x[..., :0]
                for name, x in leaves(problem).items()
                if name.startswith("query_variance")
            },
        )
    if which != "queries":
        problem = _without(problem, AXIS_OF_KEYS)
    return problem, f"no {which}"


def no_heads(
    problem: DrawnProblem, rng: np.random.Generator, scope: Scope
) -> tuple[DrawnProblem, str]:
    """Give one of the leading axes length 0."""
    if not problem.leading:
        return problem, ""
    axis = int(rng.integers(1, len(problem.leading) + 1))
    changes = {}
    for name, x in leaves(problem).items():
        leading = np.ndim(x) - core_axes(problem, name)
        if leading >= axis:
            changes[name] = np.take(x, [], axis=leading - axis)
    return with_leaves(problem, changes), f"leading axis −{axis} of length 0"


def shared_axes(
    problem: DrawnProblem, rng: np.random.Generator, scope: Scope
) -> tuple[DrawnProblem, str]:
    """Share each argument by some leading indices: its axes become of length 1, or none."""
    changes: dict[str, Any] = {}
    for name, x in leaves(problem).items():
        if scope.ordered and name.endswith("_times"):
            continue  # those of queries are not before those of their keys
        core = core_axes(problem, name)
        for axis in range(np.ndim(x) - core):
            if rng.random() < 0.4:
                x = np.take(x, [0], axis=axis)
        while np.ndim(x) > core and x.shape[0] == 1 and rng.random() < 0.5:
            x = x[0]
        changes[name] = x
    return with_leaves(problem, changes), "shared axes"


TWISTS: tuple[tuple[float, Twist], ...] = (
    (0.3, extreme_parameter),
    (0.1, extreme_parameter),
    (0.15, scaled_tokens),
    (0.3, tolerance),
    (0.15, unsorted_times),
    (0.1, nanoseconds),
    (0.4, other_mask),
    (0.4, shared_axes),
    (0.04, no_tokens),
    (0.02, no_heads),
)
"""The changes, in their order, with the share of the problems that they are tried on."""


def twisted(
    problem: DrawnProblem, rng: np.random.Generator, scope: Scope
) -> tuple[DrawnProblem, tuple[str, ...]]:
    """Return the problem with some of the changes, and their names."""
    names = []
    for share, twist in TWISTS:
        if rng.random() < share:
            problem, name = twist(problem, rng, scope)
            names += [name] if name else []
    return problem, tuple(names)


def _without(problem: DrawnProblem, axes: dict[str, int]) -> DrawnProblem:
    empty = {
        name: np.take(x, [], axis=axes[name])
        for name, x in leaves(problem).items()
        if name in axes and (name != "mask" or x.shape[axes[name]] != 1)
    }
    return with_leaves(problem, empty)


def _certain(problem: DrawnProblem) -> bool:
    """Whether Σ stays positive at any decay: keys do not stand alone for it."""
    noises = {name: x for name, x in leaves(problem).items() if "noise." in name}
    return all(
        np.all(np.asarray(x) > 0.0)
        for name, x in noises.items()
        if name.endswith(("process", "query"))
    )


def _any(rng: np.random.Generator, choices: Sequence[Any]) -> Any:
    return choices[int(rng.integers(len(choices)))]


def _last(name: str) -> str:
    return name.rpartition(".")[2]
