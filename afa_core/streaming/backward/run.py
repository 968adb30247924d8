"""The way back through tiles that are evaluated again: gradients in O(n + m) memory.

With D_ij the derivative of the loss in a weight, those in the x and the Σ of a pair are a few
products; those in tokens are matrix products of them with the other side's factors, and those in
times and parameters follow from these factors in work that grows as n + m.
"""

from __future__ import annotations

from afa_core._array.arrays import Array, Namespace
from afa_core.streaming.backward.accumulator import Gathered
from afa_core.streaming.blocks import Sizes
from afa_core.streaming.forms import BACK
from afa_core.streaming.forward.run import form, panels, visible_of
from afa_core.streaming.forward.sums import Result
from afa_core.streaming.operands import Fixed, Operands
from afa_core.streaming.operations import Operations


def backward(
    o: Operands,
    fixed: Fixed,
    sizes: Sizes,
    ops: Operations,
    result: Result,
    by_mean: Array,
    by_precision: Array,
    *,
    xp: Namespace,
) -> Operands:
    """Return the derivatives in all operands from those in the mean and in the precision.

    A token that is not finite and that any query sees makes them NaN.
    """
    gathered = Gathered()
    back = BACK[fixed.form](form(o, fixed, ops, xp=xp), gathered)
    for rows, found in panels(o, fixed, sizes, ops, xp=xp):
        back.finish(found)
        panel = Result(*(ops.cut(x, rows) for x in result))
        back.panel(rows, panel, ops.cut(by_mean, rows), ops.cut(by_precision, rows))
        for step in found:
            back.tile(rows, step, visible_of(fixed, rows, step.columns, o.query, xp=xp))
    back.finish()
    return gathered.whole(o, xp=xp)
