"""What all kernels take beside arrays of tokens: scales, powers, units of weights, masks."""

from __future__ import annotations

from math import log
from typing import Any

from afa_core._array.arrays import Array, DType, Namespace
from afa_core._checks.problem import Problem
from afa_core.model.weighting import Uniform
from afa_core.streaming.operands import Norms, Operands, StaticProblem, residual_scale, static_of
from afa_core.streaming.ranges import extremes
from afa_core.streaming.visible import flatten_mask

LOG_RANGE_SHARE = 0.85
"""Share of the logarithm of the largest number that the range of a power may span."""


def scale_of(operands: Operands, static: StaticProblem, *, xp: Namespace) -> Array:
    """Return c of x = Σ + cρ, (g, 1, 1), zero where weights do not depend on residuals."""
    if static.weighting is Uniform:
        return xp.zeros_like(operands.dof)
    return residual_scale(static, operands, xp=xp)


def no_exit(problem: Problem) -> str:
    """Return why a kernel visits every key of a correlated problem; empty if far ones may be left.

    Keys may be in no order of time unless queries are causal, and then far places are near in time.
    """
    return _no_exit(static_of(problem, None))


def _no_exit(static: StaticProblem) -> str:
    if static.has_temperature:
        return "kernels visit every key unless `inverse_temperature` is the number 1."
    if not (static.regular or static.visibility.causal):
        return "kernels visit every key of arrays of times, unless `causal`."
    return ""


def log_share(static: StaticProblem) -> float | None:
    """Return the logarithm of the share of a row that early exit may leave out on each side."""
    if not (static.directions and static.tolerance) or _no_exit(static):
        return None
    return static.log_share if static.visibility.keys else None


def powers_of(static: StaticProblem, dtype: DType, *, xp: Namespace) -> tuple[int, ...]:
    """Return p of heads whose weights are integer powers, and −1 if there may be others.

    Half precision has not their range: there weights are relative to the greatest of a query.
    """
    if static.weighting is Uniform and not static.has_temperature:
        return (0,) if static.directions else (1,)
    if not static.power or dtype == xp.float16:
        return (-1,)
    return (1,) if static.power == 1 else (static.power, -1)


def units_of_heads(
    operands: Operands, norms: Norms, scale: Array, power: int, dtype: DType, *, xp: Namespace
) -> tuple[Array, Array]:
    """Return units of weights, and 1 where powers are in the range of a dtype, else 0, (g,)."""
    found: Any = extremes(operands, norms, scale, xp=xp)
    if not norms.query.shape[1]:
        one = xp.ones_like(scale)
        return one, one * float(power >= 0)
    low = xp.min(found.low, axis=1)
    top = xp.max(xp.where(xp.isfinite(found.top), found.top, 0.0), axis=1)
    unit = xp.where(low > 0.0, xp.sqrt(low) * xp.sqrt(top), top)
    if power < 2:
        return unit, xp.full_like(unit, float(power >= 0))
    known = xp.where(low > 0.0, low, 1.0)
    spread = power * (xp.log(xp.where(top > 0.0, top, 1.0)) - xp.log(known))
    below = spread < LOG_RANGE_SHARE * log(xp.finfo(dtype).max)
    return unit, xp.astype(xp.logical_and(low > 0.0, below), unit.dtype)


def compact_mask(mask: Array, static: StaticProblem, *, xp: Namespace) -> Array:
    """Return a mask in as few heads and rows as it has, (g or 1, n or 1, m)."""
    rows = mask.shape[-2] if mask.shape[-2] == static.visibility.queries else 1
    mask = xp.broadcast_to(mask, (*mask.shape[:-2], rows, static.visibility.keys))
    return flatten_mask(mask, static, xp=xp)
