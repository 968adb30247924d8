"""Phases by which tokens are turned back to time zero and estimates to their queries (spec §4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from afa_core._array.arrays import Array, Namespace, Parameter
from afa_core._array.pairs import Pair, angle, phase
from afa_core._checks.problem import Problem

Turn = Callable[..., Array]
"""``turn(packed, by, source, target, xp=…)``: `pairs.turned`, or what a library does faster."""


class Phases(NamedTuple):
    """e^{iωt}, each (..., tokens, modes): the same arrays where times and frequencies are."""

    query: Pair
    key: Pair
    value: Pair
    estimate: Pair


def phases_of(p: Problem, *, xp: Namespace) -> Phases:
    """Return the phases of a problem."""
    queries, keys = p.visibility.queries, p.visibility.keys
    last = p.regular and queries <= keys  # whether queries have the places of the last keys

    def of(frequency: Parameter, times: Array) -> Pair:
        return phase(angle(frequency, times), p.packed.query.dtype, xp=xp)

    def both(frequency: Parameter) -> tuple[Pair, Pair]:
        key = of(frequency, p.key_times)
        if last:
            return Pair(*(x[..., keys - queries :, :] for x in key)), key
        return of(frequency, p.query_times), key

    query, key = both(p.sde.frequency)
    if p.value_frequency is p.sde.frequency:
        return Phases(query, key, key, query)
    estimate, value = both(p.value_frequency)
    return Phases(query, key, value, estimate)
