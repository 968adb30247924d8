"""How JAX cuts a sequence into tiles, and in which order a compiled program takes them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, reduce
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from afa_core.streaming.blocks import Sizes, Step
from afa_core.streaming.forward.run import flattened
from afa_core.streaming.operands import KEYS, QUERIES, Fixed, Operands

XP: Any = jnp


class Span:
    """Tokens from a place that only the compiled program knows, in a number known before."""

    def __init__(self, start: Any, size: int) -> None:
        self.start, self.size = start, size

    def __len__(self) -> int:
        return self.size

    def places(self) -> Any:
        """Return the places of the tokens, (size,)."""
        return self.start + jnp.arange(self.size, dtype=jnp.int32)


def cut(x: Any, tokens: Span, axis: int = 1) -> Any:
    """Return some tokens of an array."""
    return lax.dynamic_slice_in_dim(x, tokens.start, len(tokens), axis)


class Pieces(NamedTuple):
    """A sequence in pieces of one size, the first of which begins with copies of a token."""

    number: int
    size: int
    copies: int

    def span(self, piece: Any) -> Span:
        """Return the places of a piece."""
        return Span(piece * self.size, self.size)

    def filled(self, x: Any, axis: int = 1) -> Any:
        """Put the copies in front of an array of tokens."""
        first = lax.slice_in_dim(x, 0, min(x.shape[axis], 1), axis=axis)
        return jnp.concatenate([jnp.repeat(first, self.copies, axis), x], axis)

    def joined(self, x: Any) -> Any:
        """Join arrays of pieces (number, g, size, …), and leave the copies out."""
        x = jnp.moveaxis(x, 0, 1)
        return x.reshape(x.shape[0], self.number * self.size, *x.shape[3:])[:, self.copies :]


def pieces(tokens: int, most: int) -> Pieces:
    """Cut tokens into as few pieces as their greatest size allows, of the least size then."""
    count = max(-(-tokens // most), 1)
    size = -(-tokens // count)
    return Pieces(count, size, count * size - tokens)


class Bounds(NamedTuple):
    """The earliest and the latest time of every piece, (g, pieces)."""

    first: Any
    last: Any

    def of(self, piece: Any) -> Bounds:
        """Return those of one piece."""
        return Bounds(*(cut(x, Span(piece, 1)) for x in self))


def bounds(times: Any, pieces: Pieces) -> Bounds:
    """Return those of times (g, tokens, 1); NaN has no say."""
    times = times.reshape(times.shape[0], pieces.number, pieces.size)
    known = jnp.logical_not(jnp.isnan(times))
    return Bounds(
        jnp.min(jnp.where(known, times, jnp.inf), axis=-1, initial=jnp.inf),
        jnp.max(jnp.where(known, times, -jnp.inf), axis=-1, initial=-jnp.inf),
    )


Body = Callable[[Any, Step, Any], Any]
"""From sums, a tile, and who sees whom in it or None, to the sums with the tile."""


class Tiles(NamedTuple):
    """The tiles that a panel sees, and who sees whom in them.

    On a grid the places tell which tiles come before a panel. Given times are looked at tile by
    tile in the program; where they are mapped over, all three ways are evaluated and one is chosen.
    """

    fixed: Fixed
    rows: Pieces
    columns: Pieces
    mask: Any  # (…, n or 1, m or 1) with its copies, or None
    times: tuple[Bounds, Bounds] | None  # of queries and of keys, unless they are the places

    def own(self, o: Operands) -> Operands:
        """Leave the copies out."""
        return o._replace(
            **{name: getattr(o, name)[:, self.rows.copies :] for name in QUERIES},
            **{name: getattr(o, name)[:, self.columns.copies :] for name in KEYS},
        )

    def walk(self, panel: Any, sums: Any, body: Body) -> Any:
        """Take sums through all tiles that a panel sees: before, beside and after it."""
        size, count = self.columns.size, self.columns.number
        offset = count * size - self.rows.number * self.rows.size
        first = jnp.maximum(panel * self.rows.size, self.rows.copies) + offset
        last = (panel + 1) * self.rows.size + offset
        before = jnp.clip((first + 1) // size, 0, count)
        beside = jnp.clip(-(-last // size), before, count)
        causal = self.fixed.visibility.causal
        loops: list[tuple[Any, Any, int | None]]
        if self.times is not None:
            loops = [(0, beside if causal else count, None)]
        else:
            loops = [(0, before, 1), (before, beside, 0), (beside, count, -1)]
            loops = loops[:2] if causal else loops
        for start, stop, frame in loops:
            sums = lax.fori_loop(start, stop, partial(self._tile, panel, frame, body), sums)
        return sums

    def _tile(self, panel: Any, frame: int | None, body: Body, tile: Any, sums: Any) -> Any:
        columns: Any = self.columns.span(tile)
        visible = self._visible(panel, tile, frame)

        def way(frame: int) -> Callable[[Any], Any]:
            return lambda sums: body(sums, Step(columns, frame), visible)

        if frame is None:
            return lax.switch(self._order(panel, tile), [way(0), way(1), way(-1)], sums)
        return way(frame)(sums)

    def _order(self, panel: Any, tile: Any) -> Any:
        """Return 1 where all keys come before all queries in time, 2 where all after, else 0."""
        assert self.times is not None
        query, key = self.times[0].of(panel), self.times[1].of(tile)
        after = jnp.where(jnp.all(key.first > query.last), 2, 0)
        return jnp.where(jnp.all(key.last < query.first), 1, after)

    def _visible(self, panel: Any, tile: Any, frame: int | None) -> Any:
        """Return who sees whom in a tile, (g or 1, n, m), None if everyone does."""
        rows, columns = self.rows.span(panel), self.columns.span(tile)
        seen = []
        place = columns.places() - self.columns.copies
        if self.columns.copies:
            seen.append(place[None, :] >= 0)
        if self.fixed.visibility.causal and frame != 1:
            last = jnp.maximum(rows.places() - self.rows.copies, 0)
            last = last + (self.fixed.visibility.keys - self.fixed.visibility.queries)
            seen.append(place <= last[:, None])
        if self.mask is not None:
            part = self.mask
            for axis, span in ((-2, rows), (-1, columns)):
                part = cut(part, span, axis) if part.shape[axis] > 1 else part
            seen.append(part)
        if not seen:
            return None
        whole = reduce(jnp.logical_and, seen)
        whole = jnp.broadcast_to(whole, (*whole.shape[:-2], len(rows), len(columns)))
        return flattened(whole, self.fixed, xp=XP)


def tiles(o: Operands, fixed: Fixed, sizes: Sizes, mask: Any) -> tuple[Operands, Tiles]:
    """Cut a problem into tiles; also return its operands with their copies."""
    rows = pieces(fixed.visibility.queries, sizes.queries)
    columns = pieces(fixed.visibility.keys, sizes.keys)
    o = o._replace(
        **{name: rows.filled(getattr(o, name)) for name in QUERIES},
        **{name: columns.filled(getattr(o, name)) for name in KEYS},
    )
    if mask is not None:
        for axis, own in ((-2, rows), (-1, columns)):
            mask = own.filled(mask, mask.ndim + axis) if mask.shape[axis] > 1 else mask
    times = None
    if not fixed.regular:
        times = bounds(o.query_times, rows), bounds(o.key_times, columns)
    return o, Tiles(fixed, rows, columns, mask, times)
