"""Leading axes of a cache: all its arrays have as many, so that the first is the same in all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from afa_core._array.arrays import Array, with_rank
from afa_core.model.gains import FilterGains

FIELDS = (
    "key", "value", "key2", "times", "visible", "influence", "latest", "origin", "state", "evicted",
)  # fmt: skip
"""The fields of a cache that have leading axes: arrays, `FilterGains` or None."""


def arrays_of(fields: Iterable[Any]) -> list[Array]:
    """Return the arrays of some fields."""
    arrays: list[Array] = []
    for each in fields:
        if isinstance(each, FilterGains):
            arrays += (each.gain, *each.log_kept, each.time, each.seen)
        elif each is not None:
            arrays.append(each)
    return arrays


def mapped(field: Any, function: Callable[[Array], Array]) -> Any:
    """Apply a function to every array of a field."""
    if isinstance(field, FilterGains):
        return field.map(function)
    return None if field is None else function(field)


def with_axes(field: Any, count: int) -> Any:
    """Return a field whose arrays have so many axes, those in front that it lacks of length 1.

    An array that has them is returned itself: buffers are known by their identity.
    """
    return mapped(field, lambda x: with_rank(x, count))
