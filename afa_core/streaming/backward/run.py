"""The backward: gradients in O(n + m) memory, from tiles that are evaluated again.

With D_ij the gradient of the loss in a weight, the gradients in the x and the Σ of a pair take a
few products. Those in tokens are matrix products of them with the factors of the other side, and
those in times and parameters follow from these factors in work that grows as n + m.
"""

from __future__ import annotations

from afa_core._array.arrays import Array, Namespace
from afa_core.streaming.backward.accumulator import PieceGrads
from afa_core.streaming.backward.forms import BACKWARD
from afa_core.streaming.blocks import Sizes
from afa_core.streaming.forward.run import schedule, tiles_of
from afa_core.streaming.forward.sums import StreamResult
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
    grads = PieceGrads()
    tiles = BACKWARD[static.form](tiles_of(operands, static, ops, xp=xp), grads)
    for rows, key_blocks in schedule(operands, static, sizes, ops, xp=xp):
        tiles.finish(key_blocks)
        block_result = StreamResult(*(ops.cut(x, rows) for x in result))
        tiles.query_block(
            rows, block_result, ops.cut(grad_mean, rows), ops.cut(grad_precision, rows)
        )
        tiles.prior_mean(rows)
        for block in key_blocks:
            visible = visible_pairs(static, rows, block.columns, operands.query, xp=xp)
            tiles.tile(rows, block, visible)
    tiles.finish()
    return grads.joined(operands, xp=xp)
