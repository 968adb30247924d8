"""Attention over tiles in JAX: loops that are compiled once, whatever the number of tokens.

Queries and keys are cut into pieces of one size each. What is wanting of the first piece stands in
front of the sequence: copies of the first token, hidden as keys and dropped as queries. The way
back evaluates the tiles again; it can itself be differentiated forward, so that there are
Hessians, but not in reverse. Forward derivatives of the way there are refused by
`jax.custom_vjp`; the reference has them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, reduce
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from jax import lax

from afa_core.streaming.backward import harmless
from afa_core.streaming.engine import Engine
from afa_core.streaming.forms import BACK, FORMS, Form
from afa_core.streaming.forward import flattened, marks, spoil
from afa_core.streaming.operands import Fixed, Operands
from afa_core.streaming.operations import Operations, standard
from afa_core.streaming.ranges import in_range, settled
from afa_core.streaming.schedule import Sizes, Step
from afa_core.streaming.sums import Result

XP: Any = jnp
QUERIES, KEYS = ("query", "query_times"), ("key", "value", "key_times")


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


OPERATIONS: Operations = standard(XP)._replace(
    product=partial(jnp.matmul, precision=lax.Precision.HIGHEST), cut=cut, keeps=False
)


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
        after = jnp.where(jnp.all(key.first >= query.last), 2, 0)
        return jnp.where(jnp.all(key.last <= query.first), 1, after)

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


class Static(NamedTuple):
    """What beside arrays makes a program."""

    known: tuple[Any, ...]  # the fields of `Fixed` up to the heads, without the mask
    sizes: Sizes
    precise: bool

    @property
    def fixed(self) -> Fixed:
        """What is known of the problem."""
        return Fixed(*self.known)


def by_powers(o: Operands, fixed: Fixed, function: Callable[[Form], Any]) -> Any:
    """Apply a function to the form of a problem, by integer powers where they are safe."""

    def run(*, powers: bool) -> Any:
        return function(FORMS[fixed.form](o, fixed, OPERATIONS, powers=powers, xp=XP))

    known = settled(fixed)
    if known is not None:
        return run(powers=known)
    safe = in_range(o, fixed, xp=XP)
    return lax.cond(safe, partial(run, powers=True), partial(run, powers=False))


@partial(jax.jit, static_argnums=0)
def forward(static: Static, o: Operands, mask: Any) -> Result:
    """Estimate the state at every query."""
    fixed, known = static.fixed, XP.isfinite(o.value)
    own, grid = tiles(o._replace(value=XP.where(known, o.value, 0.0)), fixed, static.sizes, mask)
    rows = grid.rows

    def estimate(form: Form) -> Result:
        def panel(at: Any) -> Result:
            def add(sums: Any, step: Step, visible: Any) -> Any:
                return form.add(sums, rows.span(at), step, visible)

            nothing = form.nothing(rows.span(at), precise=static.precise)
            return form.result(grid.walk(at, nothing, add), rows.span(at))

        return Result(*(rows.joined(x) for x in lax.map(panel, jnp.arange(rows.number))))

    def spoilt(result: Result) -> Result:
        finite = grid.columns.filled(known)

        def panel(at: Any) -> Any:
            def add(sums: Any, step: Step, visible: Any) -> Any:
                return sums + marks(visible, OPERATIONS.cut(finite, step.columns), xp=XP)

            nothing = jnp.zeros((finite.shape[0], rows.size, finite.shape[2]), jnp.float32)
            return grid.walk(at, nothing, add)

        return spoil(result, rows.joined(lax.map(panel, jnp.arange(rows.number))), xp=XP)

    result = by_powers(own, fixed, estimate)
    return cast(Result, lax.cond(jnp.all(known), lambda x: x, spoilt, result))


class Added:
    """Derivatives added up in arrays of the whole sequence."""

    def __init__(self, sums: Operands) -> None:
        self.sums = sums

    def parameter(self, name: str, x: Any) -> None:
        """Add the derivative in a parameter."""
        self.sums = self.sums._replace(**{name: getattr(self.sums, name) + x})

    def tokens(self, name: str, tokens: Span, x: Any) -> None:
        """Add the derivative in some tokens."""
        whole = getattr(self.sums, name)
        whole = lax.dynamic_update_slice_in_dim(whole, cut(whole, tokens) + x, tokens.start, 1)
        self.sums = self.sums._replace(**{name: whole})


@partial(jax.jit, static_argnums=0)
def backward(
    static: Static, o: Operands, mask: Any, result: Result, by_mean: Any, by_precision: Any
) -> Operands:
    """Return the derivatives in all operands from those in the mean and in the precision."""
    fixed = static.fixed
    own, grid = tiles(harmless(o, OPERATIONS, xp=XP), fixed, static.sizes, mask)
    found = Result(*(grid.rows.filled(x) for x in result))
    by = [jnp.pad(x, ((0, 0), (grid.rows.copies, 0), (0, 0))) for x in (by_mean, by_precision)]

    def gradients(form: Form) -> Operands:
        def panel(at: Any, sums: Operands) -> Any:
            rows = grid.rows.span(at)
            given = [Result(*(cut(x, rows) for x in found)), *(cut(x, rows) for x in by)]

            def add(sums: Operands, step: Step, visible: Any) -> Operands:
                added = Added(sums)
                back = BACK[fixed.form](form, added)
                back.panel(rows, *given)
                back.tile(rows, step, visible)
                back.finish()
                return added.sums

            return grid.walk(at, sums, add)

        nothing = Operands(*(jnp.zeros_like(x) for x in own))
        return cast(Operands, lax.fori_loop(0, grid.rows.number, panel, nothing))

    sums = by_powers(own, fixed, gradients)
    return grid.own(sums)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def stream(static: Static, o: Operands, mask: Any) -> tuple[Any, Any]:
    """Return the mean and the precision."""
    result = forward(static, o, mask)
    return result.mean, result.precision


def _there(static: Static, o: Operands, mask: Any) -> tuple[Any, Any]:
    result = forward(static, o, mask)
    return (result.mean, result.precision), (o, mask, result)


def _back(static: Static, saved: Any, by: Any) -> tuple[Operands, None]:
    o, mask, result = saved
    return backward(static, o, mask, result, *by), None


stream.defvjp(_there, _back)


def _run(o: Operands, fixed: Fixed, sizes: Sizes, *, precise: bool, xp: Any) -> tuple[Any, Any]:
    visibility = fixed.visibility
    known = fixed._replace(visibility=visibility._replace(mask=None))[
        : Fixed._fields.index("heads")
    ]
    return stream(Static(known, sizes, precise), o, visibility.mask)


ENGINE = Engine(_run, Sizes(256, 256), 512)
