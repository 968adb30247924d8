"""Units in which powers of x and Σ stay in the range of a dtype, and whether they can."""

from __future__ import annotations

from math import log
from typing import NamedTuple

from afa_core._array.arrays import Array, Namespace
from afa_core.model.covariance import residual_covariance
from afa_core.model.sde import IsotropicSDE
from afa_core.streaming.operands import (
    Norms,
    Operands,
    StaticProblem,
    query_noise_of,
    residual_scale,
)

LOG_RANGE_SHARE = 1.6
"""Share of the logarithm of the largest number that the range of a power may span."""


class Units(NamedTuple):
    """Units of x and Σ, a floor that rounding cannot take x below, the log of a weight's unit."""

    per_x: Array  # 1/unit of x, (g, n, 1)
    per_sigma: Array  # 1/unit of Σ, (g, n, s)
    floor: Array  # in the unit of x, (g, n, 1)
    peak: Array  # (g, n, 1)


class Extremes(NamedTuple):
    """The least and the greatest Σ and the greatest x of each query, (g, n, s)."""

    low: Array
    high: Array
    top: Array


def extremes(operands: Operands, norms: Norms, c: Array, *, xp: Namespace) -> Extremes:
    """Bound Σ and x by the parameters, the span of times and the lengths of tokens."""
    ages = abs(operands.key_times)
    span = abs(operands.query_times) + _greatest(ages, xp.isfinite(ages), xp=xp)
    span = xp.astype(span, operands.decay.dtype, copy=False)
    query_noise = query_noise_of(operands)
    far = residual_covariance(
        span, operands.decay, operands.process, operands.measurement, query_noise, xp=xp
    )
    near = operands.measurement + query_noise
    low, high = xp.minimum(near, far), xp.maximum(near, far)  # Σ is monotone in the lag (spec §2)
    # a square that overflows counts, one that is NaN makes NaN of its own pairs alone
    longest = xp.sqrt(_greatest(norms.key, xp.logical_not(xp.isnan(norms.key)), xp=xp))
    return Extremes(low, high, high + c * (xp.sqrt(norms.query) + longest) ** 2)


def units(
    operands: Operands, norms: Norms, c: Array, power: int, sigma_power: int, *, xp: Namespace
) -> Units:
    """Choose units for Σ^{p−1} x^{−p}; 1 where weights are evaluated through logarithms."""
    low, high, top = extremes(operands, norms, c, xp=xp)
    if not power:
        one, none = xp.ones_like(top), xp.zeros_like(top)
        return Units(one, one, none, none)
    unit = xp.where(low > 0.0, xp.sqrt(low) * xp.sqrt(top), top)
    common = xp.where(low > 0.0, xp.sqrt(low) * xp.sqrt(high), high)
    peak = sigma_power * xp.log(common) - power * xp.log(unit)
    per_sigma = xp.broadcast_to(1.0 / common, unit.shape)
    return Units(1.0 / unit, per_sigma, low / unit, peak)


def powers_known(static: StaticProblem) -> bool | None:
    """Whether weights are evaluated as powers, None where `powers_in_range` has to decide.

    1/x is in the range of the dtype wherever x is.
    """
    if not static.power:
        return False
    return True if static.power == static.components == 1 else None


def powers_in_range(
    operands: Operands, static: StaticProblem, norms: Norms, *, xp: Namespace
) -> Array:
    """Whether the powers in a weight can neither overflow nor vanish in any pair."""
    found = extremes(operands, norms, residual_scale(static, operands, xp=xp), xp=xp)
    check = _in_range if static.form is IsotropicSDE else _components_in_range
    return check(found, static.power, xp=xp)


def _in_range(found: Extremes, power: int, *, xp: Namespace) -> Array:
    """Whether Σ^{p−1} x^{−p} stays in range, in its unit."""
    low, high, top = found
    known = xp.where(low > 0.0, low, 1.0)
    spread = power * (xp.log(top) - xp.log(known)) + (power - 1) * (xp.log(high) - xp.log(known))
    spread = xp.where(low > 0.0, spread, xp.inf)
    return _all_below(spread, top, LOG_RANGE_SHARE, xp=xp)


def _components_in_range(found: Extremes, power: int, *, xp: Namespace) -> Array:
    """Whether (1 + r)^{−p}/Σ_s stays in range for every s, r being at most the sum of all x/Σ_s."""
    low, high, top = found
    known = xp.where(low > 0.0, low, 1.0)
    ratio = xp.sum(xp.where(low > 0.0, top / known, xp.inf), axis=-1, keepdims=True)
    spread = power * xp.log1p(ratio) + xp.maximum(abs(xp.log(known)), abs(xp.log(high)))
    return _all_below(spread, top, LOG_RANGE_SHARE / 2.0, xp=xp)


def _all_below(spread: Array, top: Array, share: float, *, xp: Namespace) -> Array:
    """Whether every spread is below a share of the dtype's; where x is NaN it does not matter."""
    below = spread < share * log(xp.finfo(top.dtype).max)
    return xp.all(xp.logical_or(xp.isnan(top), below))


def _greatest(x: Array, counted: Array, *, xp: Namespace) -> Array:
    """Return the greatest counted value ≥ 0 of each head, (g, 1, 1)."""
    known = xp.where(counted, x, 0.0)
    greatest = xp.max if x.shape[1] else xp.sum  # zero without tokens
    return greatest(known, axis=1, keepdims=True)
