"""The tiles that JAX cuts a sequence into, and the order in which a compiled program scans them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, reduce
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from afa_core._array.arrays import with_rank
from afa_core._array.masks import TokenRange
from afa_core.streaming.blocks import KeyBlock, Sizes
from afa_core.streaming.operands import KEYS, QUERIES, Operands, StaticProblem
from afa_core.streaming.visible import flatten_mask

XP: Any = jnp


class Span:
    """A range of tokens whose start is traced and whose length is not."""

    def __init__(self, start: Any, size: int) -> None:
        self.start, self.size = start, size

    def __len__(self) -> int:
        return self.size

    def places(self) -> Any:
        """Return the places of the tokens, (size,)."""
        return self.start + jnp.arange(self.size, dtype=jnp.int32)


def cut(x: Any, tokens: TokenRange, axis: int = 1) -> Any:
    """Return a range of tokens of an array."""
    return lax.dynamic_slice_in_dim(x, tokens.start, len(tokens), axis)


class Pieces(NamedTuple):
    """A sequence in pieces of one size; the first begins with copies of the first token.

    Without any token it is one piece of a copy, of zeros.
    """

    number: int
    size: int
    copies: int

    def span(self, piece: Any) -> Span:
        """Return the range of a piece."""
        return Span(piece * self.size, self.size)

    def padded(self, x: Any, axis: int = 1) -> Any:
        """Put the copies before an array of tokens."""
        first = lax.slice_in_dim(x, 0, min(x.shape[axis], 1), axis=axis)
        if not x.shape[axis]:
            first = jnp.zeros((*x.shape[:axis], 1, *x.shape[axis + 1 :]), x.dtype)
        return jnp.concatenate([jnp.repeat(first, self.copies, axis), x], axis)

    def joined(self, x: Any) -> Any:
        """Join arrays of pieces (number, g, size, …), without the copies."""
        x = jnp.moveaxis(x, 0, 1)
        return x.reshape(x.shape[0], self.number * self.size, *x.shape[3:])[:, self.copies :]


def pieces(tokens: int, most: int) -> Pieces:
    """Cut tokens into as few pieces as their greatest size allows, of the least size then."""
    count = max(-(-tokens // most), 1)
    size = max(-(-tokens // count), 1)
    return Pieces(count, size, count * size - tokens)


class TimeBounds(NamedTuple):
    """The earliest and the latest time of every piece, (g, pieces)."""

    first: Any
    last: Any

    def of(self, piece: Any) -> TimeBounds:
        """Return those of one piece."""
        return TimeBounds(*(cut(x, Span(piece, 1)) for x in self))


def time_bounds(times: Any, pieces: Pieces) -> TimeBounds:
    """Return the bounds of times (g, tokens, 1); NaN is ignored."""
    times = times[:, :, 0].reshape(times.shape[0], pieces.number, pieces.size)
    known = jnp.logical_not(jnp.isnan(times))
    return TimeBounds(
        jnp.min(jnp.where(known, times, jnp.inf), axis=-1, initial=jnp.inf),
        jnp.max(jnp.where(known, times, -jnp.inf), axis=-1, initial=-jnp.inf),
    )


AddTile = Callable[[Any, KeyBlock, Any], Any]
"""From sums, a key block and the mask of the tile or None, to the sums with the tile."""


class TileGrid(NamedTuple):
    """The tiles of a problem: which key blocks each query block attends to, and their masks.

    On a regular grid the places determine which key blocks come before a query block. Given times
    are compared tile by tile in the program; where they are mapped over, all three orders are
    evaluated and one is selected.
    """

    static: StaticProblem
    rows: Pieces
    columns: Pieces
    mask: Any  # (…, n or 1, m or 1) with its copies, or None
    times: tuple[TimeBounds, TimeBounds] | None  # of queries and keys, unless on a regular grid

    def without_copies(self, operands: Operands) -> Operands:
        """Drop the copies."""
        return operands._replace(
            **{name: getattr(operands, name)[:, self.rows.copies :] for name in QUERIES},
            **{name: getattr(operands, name)[:, self.columns.copies :] for name in KEYS},
        )

    def scan_tiles(self, query_block: Any, sums: Any, add: AddTile) -> Any:
        """Add all tiles of a query block to sums: key blocks before, beside and after it."""
        before, beside = self._beside(query_block)
        count, causal = self.columns.number, self.static.visibility.causal
        loops: list[tuple[Any, Any, int | None]]
        if self.times is not None:
            loops = [(0, beside if causal else count, None)]
        else:
            loops = [(0, before, 1), (before, beside, 0), (beside, count, -1)]
            loops = loops[:2] if causal else loops
        for start, stop, order in loops:
            body = partial(self._add_tile, query_block, order, add)
            sums = lax.fori_loop(start, stop, body, sums)
        return sums

    def visit_tiles(
        self, query_block: Any, sums: Any, add: AddTile, matters: Callable[[int, Any], Any]
    ) -> Any:
        """Add tiles from the nearest to the farthest on either side, until the rest is left out.

        ``matters(order, sums)(key_block, sums)``: whether a block or one beyond it may matter.
        """
        before, beside = self._beside(query_block)

        def add_in(order: int) -> Callable[[Any, Any], Any]:
            known = None if self.times is not None else order
            return partial(self._add_tile, query_block, known, add)

        sums = lax.fori_loop(before, beside, add_in(0), sums)
        sides = [(before - 1, -1, 1), (beside, 1, -1)]
        for nearest, step, order in sides[: 1 if self.static.visibility.causal else 2]:
            still = matters(order, sums)
            inside = partial(self._goes_on, still)
            body = partial(_step, step, add_in(order))
            _, sums = lax.while_loop(inside, body, (nearest, sums))
        return sums

    def _goes_on(self, matters: Callable[[Any, Any], Any], state: tuple[Any, Any]) -> Any:
        key_block, sums = state
        there = jnp.logical_and(key_block >= 0, key_block < self.columns.number)
        place = jnp.clip(key_block, 0, self.columns.number - 1)
        return jnp.logical_and(there, matters(place, sums))

    def _beside(self, query_block: Any) -> tuple[Any, Any]:
        """Return the first key block beside a query block, and the first one after it."""
        size, count = self.columns.size, self.columns.number
        offset = count * size - self.rows.number * self.rows.size
        first = jnp.maximum(query_block * self.rows.size, self.rows.copies) + offset
        last = (query_block + 1) * self.rows.size + offset
        before = jnp.clip((first + 1) // size, 0, count)
        return before, jnp.clip(-(-last // size), before, count)

    def tiles(self) -> int:
        """Return how many tiles have a visible pair, but for the mask."""
        if not self.static.visibility.causal:
            return self.rows.number * self.columns.number
        return sum(int(self._beside(index)[1]) for index in range(self.rows.number))

    def in_order(self, query_block: Any, order: int) -> Any:
        """Return whether a key block and all beyond it come before the queries, or after them."""
        count = self.columns.number
        if self.times is None or self.static.visibility.causal:
            return jnp.ones(count, dtype=bool)
        query, key = self.times[0].of(query_block), self.times[1]
        there = key.last < query.first if order > 0 else key.first > query.last
        return lax.cummin(jnp.all(there, axis=0).astype(jnp.int32), reverse=order < 0) > 0

    def _add_tile(
        self, query_block: Any, order: int | None, add: AddTile, key_block: Any, sums: Any
    ) -> Any:
        columns = self.columns.span(key_block)
        visible = self._visible(query_block, key_block, order)

        def in_order(order: int) -> Callable[[Any], Any]:
            return lambda sums: add(sums, KeyBlock(columns, order), visible)

        if order is None:
            branches = [in_order(0), in_order(1), in_order(-1)]
            return lax.switch(self._order(query_block, key_block), branches, sums)
        return in_order(order)(sums)

    def _order(self, query_block: Any, key_block: Any) -> Any:
        """Return 1 where all keys come before all queries in time, 2 where all after, else 0."""
        assert self.times is not None
        query, key = self.times[0].of(query_block), self.times[1].of(key_block)
        after = jnp.where(jnp.all(key.first > query.last), 2, 0)
        return jnp.where(jnp.all(key.last < query.first), 1, after)

    def _visible(self, query_block: Any, key_block: Any, order: int | None) -> Any:
        """Return the mask of a tile, (g or 1, n, m), None if all pairs are visible."""
        rows, columns = self.rows.span(query_block), self.columns.span(key_block)
        conditions: list[Any] = []
        place = columns.places()[None, :] - self.columns.copies
        if self.columns.copies:
            conditions.append(place >= 0)
        if self.static.visibility.causal and order != 1:
            last = jnp.maximum(rows.places() - self.rows.copies, 0)
            last = last + (self.static.visibility.keys - self.static.visibility.queries)
            conditions.append(place <= last[:, None])
        if self.mask is not None:
            part = self.mask
            for axis, span in ((-2, rows), (-1, columns)):
                part = cut(part, span, axis) if part.shape[axis] > 1 else part
            conditions.append(part)
        if not conditions:
            return None
        rank = max(each.ndim for each in conditions)
        visible: Any = reduce(XP.logical_and, (with_rank(each, rank) for each in conditions))
        visible = jnp.broadcast_to(visible, (*visible.shape[:-2], len(rows), len(columns)))
        return flatten_mask(visible, self.static, xp=XP)


def _step(step: int, add: Callable[[Any, Any], Any], state: tuple[Any, Any]) -> tuple[Any, Any]:
    key_block, sums = state
    return key_block + step, add(key_block, sums)


def tile_grid(
    operands: Operands, static: StaticProblem, sizes: Sizes, mask: Any
) -> tuple[Operands, TileGrid]:
    """Cut a problem into tiles; also return its operands with their copies."""
    rows = pieces(static.visibility.queries, sizes.queries)
    columns = pieces(static.visibility.keys, sizes.keys)
    operands = operands._replace(
        **{name: rows.padded(getattr(operands, name)) for name in QUERIES},
        **{name: columns.padded(getattr(operands, name)) for name in KEYS},
    )
    if mask is not None:
        for axis, side in ((-2, rows), (-1, columns)):
            mask = side.padded(mask, mask.ndim + axis) if mask.shape[axis] != 1 else mask
    times = None
    if not static.regular:
        times = time_bounds(operands.query_times, rows), time_bounds(operands.key_times, columns)
    return operands, TileGrid(static, rows, columns, mask, times)
