"""Units in which powers of x and Σ stay in the range of a dtype, and whether they can."""

from __future__ import annotations

from math import log
from typing import Any, NamedTuple

from afa_core._array.arrays import Array, Namespace
from afa_core.model.covariance import residual_covariance
from afa_core.model.sde import IsotropicSDE
from afa_core.streaming.operands import Fixed, Norms, Operands, scale_of

SHARE = 1.6
"""Of the logarithm of the largest number, what powers may span from their least to their most."""


class Units(NamedTuple):
    """Units of x and Σ, the least x that rounding may leave, the logarithm of a weight's unit."""

    per_x: Array  # 1/unit of x, (g, n, 1)
    per_sigma: Array  # 1/unit of Σ, (g, 1, s)
    floor: Array  # in the unit of x, (g, n, 1)
    peak: Array  # (g, n, 1)


class Bounds(NamedTuple):
    """The least and the greatest Σ, (g, 1, s), and the greatest x of each query, (g, n, s)."""

    low: Array
    high: Array
    top: Array


def bounds(o: Operands, norms: Norms, c: Array, *, xp: Namespace) -> Bounds:
    """Look at the parameters, the span of times and the lengths of tokens."""
    span = _greatest(abs(o.query_times), xp=xp) + _greatest(abs(o.key_times), xp=xp)
    span = xp.astype(span, o.query.dtype, copy=False)
    far = residual_covariance(span, o.decay, o.process, o.measurement, o.query_noise, xp=xp)
    near = o.measurement + o.query_noise
    low, high = xp.minimum(near, far), xp.maximum(near, far)  # Σ is monotone in the lag (spec §2)
    longest = xp.sqrt(_greatest(norms.key, xp=xp))
    return Bounds(low, high, high + c * (xp.sqrt(norms.query) + longest) ** 2)


def units(o: Operands, norms: Norms, c: Array, power: int, *, xp: Namespace) -> Units:
    """Choose the units of Σ^{p−1} x^{−p}; 1 where logarithms are taken."""
    low, high, top = bounds(o, norms, c, xp=xp)
    if not power:
        one, none = xp.ones_like(top), xp.zeros_like(top)
        return Units(one, xp.ones_like(high), none, none)
    unit = xp.where(low > 0.0, xp.sqrt(low) * xp.sqrt(top), top)
    common = xp.where(low > 0.0, xp.sqrt(low) * xp.sqrt(high), high)
    peak = (power - 1) * xp.log(common) - power * xp.log(unit)
    return Units(1.0 / unit, 1.0 / common, low / unit, peak)


def settled(fixed: Fixed) -> bool | None:
    """Whether a weight is to be a power, None where that has to be asked of `in_range`.

    1/x is in its range wherever x is.
    """
    if not fixed.power:
        return False
    return True if fixed.power == fixed.sets == 1 else None


def in_range(o: Operands, fixed: Fixed, norms: Norms, *, xp: Namespace) -> Any:
    """Whether the powers in a weight can neither overflow nor vanish in any pair."""
    found = bounds(o, norms, scale_of(fixed, o, xp=xp), xp=xp)
    check = _in_range if fixed.form is IsotropicSDE else _sets_in_range
    return check(found, fixed.power, xp=xp)


def _in_range(found: Bounds, power: int, *, xp: Namespace) -> Any:
    """Whether Σ^{p−1} x^{−p} is, in its unit."""
    low, high, top = found
    known = xp.where(low > 0.0, low, 1.0)
    spread = power * (xp.log(top) - xp.log(known)) + (power - 1) * (xp.log(high) - xp.log(known))
    spread = xp.where(low > 0.0, spread, xp.inf)
    widest = xp.max(xp.where(xp.isnan(top), 0.0, spread))
    return widest < SHARE * log(xp.finfo(top.dtype).max)


def _sets_in_range(found: Bounds, power: int, *, xp: Namespace) -> Any:
    """Whether (1 + r)^{−p}/Σ_s is in every set, r being at most the sum of all x/Σ_s."""
    low, high, top = found
    known = xp.where(low > 0.0, low, 1.0)
    ratio = xp.sum(xp.where(low > 0.0, top / known, xp.inf), axis=-1, keepdims=True)
    spread = power * xp.log1p(ratio) + xp.maximum(abs(xp.log(known)), abs(xp.log(high)))
    widest = xp.max(xp.where(xp.isnan(top), 0.0, spread))
    return widest < SHARE / 2.0 * log(xp.finfo(top.dtype).max)


def _greatest(x: Array, *, xp: Namespace) -> Array:
    """Return the greatest finite value of each head, (g, 1, 1)."""
    return xp.max(xp.where(xp.isfinite(x), x, 0.0), axis=1, keepdims=True)
