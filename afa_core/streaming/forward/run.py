"""Attention, a panel of queries against one tile of keys after another (spec §9)."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from afa_core._array.arrays import Array, Namespace, device_of
from afa_core.streaming.blocks import (
    Order,
    Sizes,
    Step,
    order_of_places,
    order_of_times,
    steps,
    unknown_order,
)
from afa_core.streaming.forms import FORMS, Form
from afa_core.streaming.forward.sums import Result
from afa_core.streaming.operands import Fixed, Operands, norms_of
from afa_core.streaming.operations import Operations
from afa_core.streaming.ranges import in_range, settled
from afa_core.streaming.tiles import Given


def form(o: Operands, fixed: Fixed, ops: Operations, *, xp: Namespace) -> Form:
    """Return the form of the problem, with integer powers where they are known to be safe."""
    norms, powers = norms_of(o, ops.norm2), settled(fixed)
    if powers is None:
        powers = ops.read is not None and bool(ops.read(in_range(o, fixed, norms, xp=xp)))
    return FORMS[fixed.form](Given(o, fixed, norms, ops, powers, xp))


def panels(
    o: Operands, fixed: Fixed, sizes: Sizes, ops: Operations, *, xp: Namespace
) -> Iterator[tuple[range, list[Step]]]:
    """Yield panels of queries, each with the tiles of keys it sees."""
    order: Order = unknown_order
    if fixed.regular:
        order = order_of_places(fixed.visibility)
    elif ops.read is not None:
        order = order_of_times(o.query_times, o.key_times, ops.read, xp=xp)
    return steps(fixed.visibility, sizes, order)


def visible_of(
    fixed: Fixed, rows: range, columns: range, like: Array, *, xp: Namespace
) -> Array | None:
    """Return who sees whom in a tile, (g or 1, n, m), None if everyone does."""
    seen = fixed.visibility.tile(rows, columns, device=device_of(like), xp=xp)
    return None if seen is None else flattened(seen, fixed, xp=xp)


def flattened(seen: Array, fixed: Fixed, *, xp: Namespace) -> Array:
    """Bring the leading axes of a mask (…, n, m) into one, of one entry if all heads share it."""
    core = seen.shape[-2:]
    if prod(seen.shape[:-2]) > 1:
        seen = xp.broadcast_to(seen, (*fixed.leading, *core))
    seen = xp.reshape(seen, (-1, *core))
    return seen if seen.shape[0] == 1 else seen[fixed.heads, ...]


def forward(
    o: Operands, fixed: Fixed, sizes: Sizes, ops: Operations, *, precise: bool, xp: Namespace
) -> Result:
    """Estimate the state at every query."""
    found = list(_panels(o, fixed, sizes, ops, precise=precise, xp=xp))  # tiles are gone by now
    return Result(*(xp.concat(list(each), axis=1) for each in zip(*found, strict=True)))


def _panels(
    o: Operands, fixed: Fixed, sizes: Sizes, ops: Operations, *, precise: bool, xp: Namespace
) -> Iterator[Result]:
    """Yield the estimates of one panel of queries after another."""
    finite = None if spotless(o, fixed, ops, xp=xp) else xp.isfinite(o.value)
    clean = o if finite is None else o._replace(value=xp.where(finite, o.value, 0.0))
    tiles = form(clean, fixed, ops, xp=xp)
    for rows, found in panels(o, fixed, sizes, ops, xp=xp):
        tiles.forget(found)
        sums, spoiled = tiles.nothing(rows, precise=precise), None
        for step in found:
            visible = visible_of(fixed, rows, step.columns, o.query, xp=xp)
            sums = tiles.add(sums, rows, step, visible)
            if finite is not None:
                seen = marks(visible, ops.cut(finite, step.columns), xp=xp)
                spoiled = seen if spoiled is None else spoiled + seen
        panel = tiles.result(sums, rows)
        yield panel if spoiled is None else spoil(panel, spoiled, xp=xp)


def spotless(o: Operands, fixed: Fixed, ops: Operations, *, xp: Namespace) -> bool:
    """Whether no hidden number is known to spoil what does not see it."""
    if not fixed.visibility.causal and fixed.visibility.mask is None:
        return True
    if ops.read is None:
        return False
    # a sum is finite only if all its terms are
    return all(ops.read(xp.isfinite(xp.sum(x))) for x in (o.value, o.key_times))


def marks(visible: Array | None, finite: Array, *, xp: Namespace) -> Array:
    """Count the values that a query sees and that are not finite, (g, n, 2d_v)."""
    bad = xp.astype(xp.logical_not(finite), xp.float32)
    if visible is None:
        return xp.sum(bad, axis=1, keepdims=True)
    return xp.matmul(xp.astype(visible, bad.dtype), bad)


def spoil(panel: Result, spoiled: Array, *, xp: Namespace) -> Result:
    """Put NaN where a value that was seen is not finite; a result may have several sets of them."""
    estimates = panel.mean.shape[-1] // spoiled.shape[-1]
    spoiled = xp.concat([spoiled] * estimates, axis=-1)
    return panel._replace(mean=xp.where(spoiled > 0.0, xp.nan, panel.mean))
