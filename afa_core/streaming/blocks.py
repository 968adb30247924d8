"""Which blocks of keys each block of queries attends to, and in which order in time (spec §9).

A block of queries and a block of keys make a tile. Where all its keys come before all its queries
there is a time between them, the reference time of the key block, and the decay from key to query
is one factor of the query times one factor of the key, each at most 1. Blocks are cut so that in a
sequence only the tiles on the diagonal have no reference time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from math import isqrt
from typing import Any, NamedTuple

from afa_core._array.arrays import Array, Namespace
from afa_core._array.masks import TokenRange, Visibility


class KeyBlock(NamedTuple):
    """A block of keys, for one block of queries.

    `order` is 1 where all keys come before all queries in time, −1 where all come after, and 0
    where neither is certain, so that the tile has no reference time.
    """

    columns: TokenRange
    order: int


BlockOrder = Callable[[range, range], int]
"""From a block of queries and a block of keys to the `order` of the two."""


class Sizes(NamedTuple):
    """Numbers of queries in a block, and of keys in a block that has a reference time."""

    queries: int
    keys: int


def divide_sizes(sizes: Sizes, components: int) -> Sizes:
    """Return sizes whose tiles have as many entries when each pair has several components."""
    by = isqrt(components - 1) + 1
    return Sizes(*(max(each // by, 1) for each in sizes))


def cut(start: int, stop: int, size: int) -> list[range]:
    """Cut the tokens from start to stop into ranges of a size; the last one may be shorter."""
    return [range(each, min(each + size, stop)) for each in range(start, stop, size)]


def query_blocks(
    visibility: Visibility, sizes: Sizes, order: BlockOrder
) -> Iterator[tuple[range, list[KeyBlock]]]:
    """Yield every block of queries with the key blocks before, beside and after it.

    A key block that one query block no longer attends to is not attended to by later ones.
    """
    offset, keys = visibility.keys - visibility.queries, visibility.keys
    for rows in cut(0, visibility.queries, sizes.queries):
        first = min(max(rows.start + offset, 0), keys)  # the places of the queries among the keys
        last = min(max(rows.stop + offset, 0), keys)
        aligned = first - first % sizes.keys
        earlier = cut(0, aligned, sizes.keys) + cut(aligned, first, sizes.queries)
        beside = cut(first, last, sizes.queries)
        later: list[range] = []
        if not visibility.causal:
            aligned = min(last + -last % sizes.keys, keys)
            later = cut(last, aligned, sizes.queries) + cut(aligned, keys, sizes.keys)
        columns = (*earlier, *beside, *later)
        yield rows, [KeyBlock(each, order(rows, each)) for each in columns]


def pairs_of(blocks: Iterable[tuple[range, list[KeyBlock]]]) -> int:
    """Return how many pairs are in the tiles of all blocks of queries."""
    return sum(len(rows) * len(each.columns) for rows, keys in blocks for each in keys)


def order_of_places(visibility: Visibility) -> BlockOrder:
    """Return the order of blocks whose times are their places in the sequence."""
    offset = visibility.keys - visibility.queries

    def order(rows: range, columns: range) -> int:
        if columns.stop - 1 <= rows.start + offset:
            return 1
        return -1 if columns.start > rows.stop - 1 + offset else 0

    return order


def order_of_times(
    query_times: Array, key_times: Array, read: Callable[[Array], Any], *, xp: Namespace
) -> BlockOrder:
    """Return the order of blocks by times (g, n, 1) and (g, m, 1) that can be read; NaN is ignored.

    Blocks that share a time have no order: |Δ| is not differentiable there, which a factor on each
    side would hide.
    """
    bounds: dict[tuple[bool, range], tuple[Any, Any]] = {}

    def bound(times: Array, tokens: range) -> tuple[Any, Any]:
        block = (times is key_times, tokens)
        if block not in bounds:
            x = times[:, tokens.start : tokens.stop, 0]
            known = xp.logical_not(xp.isnan(x))
            least = xp.min(xp.where(known, x, xp.inf), axis=-1)
            greatest = xp.max(xp.where(known, x, -xp.inf), axis=-1)
            bounds[block] = read(least), read(greatest)
        return bounds[block]

    def order(rows: range, columns: range) -> int:
        query, key = bound(query_times, rows), bound(key_times, columns)
        if all(latest < first for first, latest in zip(query[0], key[1], strict=True)):
            return 1
        return -1 if all(a > b for a, b in zip(key[0], query[1], strict=True)) else 0

    return order


def unknown_order(rows: range, columns: range) -> int:
    """Return the order of blocks whose times cannot be read: 0."""
    return 0
