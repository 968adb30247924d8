"""Which tiles of keys a panel of queries sees, and which of them have a frame (spec §9).

Where all keys of a tile come before all queries of a panel there is a time between them, the
frame, and the decay from key to query is one factor of the query times one of the key, each at
most 1. Tiles are cut so that in a sequence only those on the diagonal have none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import isqrt
from typing import Any, NamedTuple

from afa_core._array.arrays import Array, Namespace
from afa_core._array.masks import Visibility


class Step(NamedTuple):
    """A tile of keys for a panel of queries.

    `frame` is 1 where all keys come before all queries in time, −1 where all come after, and 0
    where neither is known.
    """

    columns: range
    frame: int


Order = Callable[[range, range], int]
"""From a panel of queries and a tile of keys to the frame of the two."""


class Sizes(NamedTuple):
    """Numbers of queries in a panel and of keys in a tile that has a frame."""

    queries: int
    keys: int


def divided(sizes: Sizes, sets: int) -> Sizes:
    """Return smaller sizes for pairs of several numbers each, so that tiles have as many."""
    by = isqrt(sets - 1) + 1
    return Sizes(*(max(each // by, 1) for each in sizes))


def cut(start: int, stop: int, size: int) -> list[range]:
    """Cut tokens from start to stop into pieces of a size, the last one shorter."""
    return [range(each, min(each + size, stop)) for each in range(start, stop, size)]


def steps(visibility: Visibility, sizes: Sizes, order: Order) -> Iterator[tuple[range, list[Step]]]:
    """Yield every panel of queries with the tiles of keys it sees: before, beside and after it.

    A tile that a panel sees no more is seen by none after it.
    """
    offset, keys = visibility.keys - visibility.queries, visibility.keys
    for rows in cut(0, visibility.queries, sizes.queries) or [range(0)]:
        first = min(max(rows.start + offset, 0), keys)  # the panel's places among the keys
        last = min(max(rows.stop + offset, 0), keys)
        whole = first - first % sizes.keys
        earlier = cut(0, whole, sizes.keys) + cut(whole, first, sizes.queries)
        beside = cut(first, last, sizes.queries)
        after = min(last + -last % sizes.keys, keys)
        later = cut(last, after, sizes.queries) + cut(after, keys, sizes.keys)
        later = [] if visibility.causal else later
        yield rows, [Step(columns, order(rows, columns)) for columns in (*earlier, *beside, *later)]


def order_of_places(visibility: Visibility) -> Order:
    """Return the order of times that are the places in the sequence."""
    offset = visibility.keys - visibility.queries

    def order(rows: range, columns: range) -> int:
        if columns.stop - 1 <= rows.start + offset:
            return 1
        return -1 if columns.start >= rows.stop - 1 + offset else 0

    return order


def order_of_times(
    query_times: Array, key_times: Array, read: Callable[[Array], Any], *, xp: Namespace
) -> Order:
    """Return the order of times (g, n, 1) and (g, m, 1) that can be read; NaN has no say.

    Equal times are in none: there |Δ| has no slope, which a factor on each side would hide.
    """
    bounds: dict[tuple[bool, range], tuple[Any, Any]] = {}

    def bound(times: Array, tokens: range) -> tuple[Any, Any]:
        own = (times is key_times, tokens)
        if own not in bounds:
            x = times[:, tokens.start : tokens.stop, 0]
            known = xp.logical_not(xp.isnan(x))
            least = xp.min(xp.where(known, x, xp.inf), axis=-1)
            greatest = xp.max(xp.where(known, x, -xp.inf), axis=-1)
            bounds[own] = read(least), read(greatest)
        return bounds[own]

    def order(rows: range, columns: range) -> int:
        query, key = bound(query_times, rows), bound(key_times, columns)
        if all(latest < first for first, latest in zip(query[0], key[1], strict=True)):
            return 1
        return -1 if all(a > b for a, b in zip(key[0], query[1], strict=True)) else 0

    return order


def unknown_order(rows: range, columns: range) -> int:
    """Return the order of times that cannot be read: none."""
    return 0
