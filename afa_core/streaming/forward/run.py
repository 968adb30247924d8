"""The forward: each block of queries against one block of keys after another (spec §9)."""

from __future__ import annotations

from collections.abc import Iterator

from afa_core._array.arrays import Array, Namespace
from afa_core.streaming.blocks import (
    BlockOrder,
    KeyBlock,
    Sizes,
    order_of_places,
    order_of_times,
    query_blocks,
    unknown_order,
)
from afa_core.streaming.forward.forms import FORMS, Form
from afa_core.streaming.forward.sums import StreamResult
from afa_core.streaming.operands import Operands, StaticProblem, squared_norms
from afa_core.streaming.operations import Operations
from afa_core.streaming.ranges import powers_in_range, powers_known
from afa_core.streaming.tiles import TileContext
from afa_core.streaming.visible import all_finite, count_nonfinite, propagate_nan, visible_pairs


def tiles_of(operands: Operands, static: StaticProblem, ops: Operations, *, xp: Namespace) -> Form:
    """Return the tiles of a problem, with integer powers where they are certain to be in range."""
    norms, powers = squared_norms(operands, ops.norm2), powers_known(static)
    if powers is None and ops.read is not None:
        powers = bool(ops.read(powers_in_range(operands, static, norms, xp=xp)))
    return FORMS[static.form](TileContext(operands, static, norms, ops, bool(powers), xp))


def schedule(
    operands: Operands, static: StaticProblem, sizes: Sizes, ops: Operations, *, xp: Namespace
) -> Iterator[tuple[range, list[KeyBlock]]]:
    """Yield blocks of queries, each with the key blocks it attends to."""
    order: BlockOrder = unknown_order
    if static.regular:
        order = order_of_places(static.visibility)
    elif ops.read is not None:
        order = order_of_times(operands.query_times, operands.key_times, ops.read, xp=xp)
    return query_blocks(static.visibility, sizes, order)


def forward(
    operands: Operands,
    static: StaticProblem,
    sizes: Sizes,
    ops: Operations,
    *,
    return_precision: bool,
    xp: Namespace,
) -> StreamResult:
    """Estimate the state at every query."""
    blocks = _results(operands, static, sizes, ops, return_precision=return_precision, xp=xp)
    results = list(blocks)  # before they are joined: the tiles are released by then
    return StreamResult(*(xp.concat(list(each), axis=1) for each in zip(*results, strict=True)))


def _results(
    operands: Operands,
    static: StaticProblem,
    sizes: Sizes,
    ops: Operations,
    *,
    return_precision: bool,
    xp: Namespace,
) -> Iterator[StreamResult]:
    """Yield the estimates of one block of queries after another."""
    finite: Array | None = None
    safe = operands
    if not all_finite(operands, static, ops, xp=xp):
        finite = xp.isfinite(operands.value)
        safe = operands._replace(value=xp.where(finite, operands.value, 0.0))
    tiles = tiles_of(safe, static, ops, xp=xp)
    for rows, key_blocks in schedule(operands, static, sizes, ops, xp=xp):
        tiles.evict(key_blocks)
        sums, nonfinite = tiles.empty_sums(rows, return_precision=return_precision), None
        for block in key_blocks:
            visible = visible_pairs(static, rows, block.columns, operands.query, xp=xp)
            sums = tiles.add(sums, rows, block, visible)
            if finite is not None:
                count = count_nonfinite(visible, ops.cut(finite, block.columns), xp=xp)
                nonfinite = count if nonfinite is None else nonfinite + count
        result = tiles.result(sums, rows)
        yield result if nonfinite is None else propagate_nan(result, nonfinite, xp=xp)
