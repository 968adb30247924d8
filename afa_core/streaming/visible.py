"""Which queries attend to which keys of a tile, and what values that are not finite do to them."""

from __future__ import annotations

from math import prod

from afa_core._array.arrays import Array, Namespace, device_of
from afa_core._array.masks import TokenRange
from afa_core._array.products import matmul
from afa_core.streaming.forward.sums import StreamResult
from afa_core.streaming.operands import Operands, StaticProblem
from afa_core.streaming.operations import Operations


def visible_pairs(
    static: StaticProblem, rows: TokenRange, columns: TokenRange, like: Array, *, xp: Namespace
) -> Array | None:
    """Return the mask of a tile, (g or 1, n, m), None if every query attends to every key."""
    visible = static.visibility.tile(rows, columns, device=device_of(like), xp=xp)
    return None if visible is None else flatten_mask(visible, static, xp=xp)


def flatten_mask(mask: Array, static: StaticProblem, *, xp: Namespace) -> Array:
    """Flatten the leading axes of a mask (…, n, m) to one, of length 1 if all heads share it."""
    core = mask.shape[-2:]
    if prod(mask.shape[:-2]) > 1:
        mask = xp.broadcast_to(mask, (*static.leading, *core))
    mask = xp.reshape(mask, (prod(mask.shape[:-2]), *core))
    return mask if mask.shape[0] == 1 else mask[static.heads, ...]


def all_finite(
    operands: Operands, static: StaticProblem, ops: Operations, *, xp: Namespace
) -> bool:
    """Whether it is certain that no hidden value or time turns a result into NaN."""
    if not static.visibility.causal and static.visibility.mask is None:
        return True
    if ops.read is None:
        return False
    # a sum is finite only if all its terms are
    return all(ops.read(xp.isfinite(xp.sum(x))) for x in (operands.value, operands.key_times))


def count_nonfinite(visible: Array | None, finite: Array, *, xp: Namespace) -> Array:
    """Count the visible values of each query that are not finite, (g, n, 2d_v)."""
    nonfinite = xp.astype(xp.logical_not(finite), xp.float32)
    if visible is None:
        return xp.sum(nonfinite, axis=1, keepdims=True)
    return matmul(xp.astype(visible, nonfinite.dtype), nonfinite, xp=xp)


def propagate_nan(result: StreamResult, nonfinite: Array, *, xp: Namespace) -> StreamResult:
    """Set the mean to NaN where a visible value is not finite, in each of its estimates."""
    estimates = result.mean.shape[-1] // nonfinite.shape[-1]
    nonfinite = xp.concat([nonfinite] * estimates, axis=-1)
    return result._replace(mean=xp.where(nonfinite > 0.0, xp.nan, result.mean))
