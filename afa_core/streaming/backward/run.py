"""The backward: gradients in O(n + m) memory, from tiles that are evaluated again.

With D_ij the gradient of the loss in a weight, the gradients in the x and the Σ of a pair take a
few products. Those in tokens are matrix products of them with the factors of the other side, and
those in times and parameters follow from these factors in work that grows as n + m.
"""

from __future__ import annotations

from typing import Any

from afa_core._array.arrays import Array, Namespace
from afa_core.streaming.backward.accumulator import PieceGrads
from afa_core.streaming.backward.forms import BACKWARD
from afa_core.streaming.backward.tiles import TileBackward
from afa_core.streaming.blocks import KeyBlock, Sizes
from afa_core.streaming.early_exit import EarlyExit, RowWeight, by_memory, weights_of_result
from afa_core.streaming.forward.run import schedule, tiles_of
from afa_core.streaming.forward.sums import StreamResult
from afa_core.streaming.heads import leading_heads
from afa_core.streaming.operands import Operands, StaticProblem
from afa_core.streaming.operations import Operations
from afa_core.streaming.visible import visible_pairs


def backward(
    operands: Operands,
    static: StaticProblem,
    sizes: Sizes,
    ops: Operations,
    result: StreamResult,
    grad_mean: Array,
    grad_precision: Array,
    *,
    xp: Namespace,
) -> Operands:
    """Return the gradients in all operands from those in the mean and in the precision.

    A visible token that is not finite makes them NaN.
    """
    operands, static, places = by_memory(operands, static, sizes, ops, xp=xp)
    if places is not None:
        order = xp.argsort(places)
        *given, grad_mean, grad_precision = (
            xp.take(x, order, axis=0) for x in (*result, grad_mean, grad_precision)
        )
        result = StreamResult(*given)
    grads = PieceGrads(operands.query.shape[0], xp)
    tiles = BACKWARD[static.form](tiles_of(operands, static, ops, xp=xp), grads)
    early_exit = EarlyExit(tiles.tiles)
    for rows, key_blocks in schedule(operands, static, sizes, ops, xp=xp):
        tiles.finish(key_blocks)
        of_rows = [ops.cut(x, rows) for x in (*result, grad_mean, grad_precision)]
        _query_block(tiles, early_exit, rows, key_blocks, of_rows)
    tiles.finish()
    found = tiles.tiles.token_grads(grads.joined(operands, xp=xp))
    return found if places is None else Operands(*(xp.take(x, places, axis=0) for x in found))


def _query_block(
    tiles: TileBackward[Any],
    early_exit: EarlyExit,
    rows: range,
    key_blocks: list[KeyBlock],
    of_rows: list[Array],
) -> None:
    """Add the gradients of a block of queries, given its result and the gradients in that."""

    def begin(some: TileBackward[Any]) -> None:
        *result, grad_mean, grad_precision = (x[: some.tiles.heads, ...] for x in of_rows)
        some.query_block(rows, StreamResult(*result), grad_mean, grad_precision)

    begin(tiles)
    tiles.prior_mean(rows)
    weights = weights_of_result(StreamResult(*of_rows[:-2]), tiles.tiles)

    def row_weights(heads: int) -> list[RowWeight]:
        return [leading_heads(each, heads) for each in weights]

    for block, heads in early_exit.visits(rows, key_blocks, row_weights):
        some = tiles.leading(heads)
        if some is not tiles:
            begin(some)
        static, xp = some.tiles.static, tiles.xp
        visible = visible_pairs(static, rows, block.columns, of_rows[0], xp=xp)
        some.tile(rows, block, visible)
