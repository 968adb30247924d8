"""Phases that rotate tokens back to time zero, and estimates to the times of their queries (§4)."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from afa_core._array.arrays import Array, Namespace, Parameter
from afa_core._array.pairs import Layout, Pair, angle, phase
from afa_core._checks.problem import Problem


class Rotate(Protocol):
    """`rotate_packed`, or an equivalent that a library evaluates faster."""

    def __call__(
        self, packed: Array, by: Pair, source: Layout, target: Layout, /, *, xp: Namespace
    ) -> Array:
        """Return e^{iθ} ⊙ z in the layout `target`, of packed modes z in the layout `source`."""
        ...


class Phases(NamedTuple):
    """e^{iωt}, each (..., tokens, modes); equal times and frequencies share their arrays."""

    query: Pair
    key: Pair
    value: Pair
    estimate: Pair


def rotation_phases(problem: Problem, *, xp: Namespace) -> Phases:
    """Return the phases of all tokens of a problem."""
    queries, keys = problem.visibility.queries, problem.visibility.keys
    aligned = problem.regular and queries <= keys  # queries have the times of the last keys

    def phases(frequency: Parameter, times: Array) -> Pair:
        return phase(angle(frequency, times), problem.packed.query.dtype, xp=xp)

    def both(frequency: Parameter) -> tuple[Pair, Pair]:
        key = phases(frequency, problem.key_times)
        if aligned:
            return Pair(*(x[..., keys - queries :, :] for x in key)), key
        return phases(frequency, problem.query_times), key

    query, key = both(problem.sde.frequency)
    if problem.value_frequency is problem.sde.frequency:
        return Phases(query, key, key, query)
    estimate, value = both(problem.value_frequency)
    return Phases(query, key, value, estimate)
