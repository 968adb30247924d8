r"""The Kalman filter with measurements of different reliability, and the reliability it gives them.

In units of the measurement noise, η² = 1, with a reliability ψ of each measurement, whose variance
is 1/ψ (ψ = 0: nothing is measured):

    p⁻_i = E²p_{i−1} + V(h_i),   p_i = p⁻_i/(1 + ψ_ip⁻_i),
    x⁻_i = e^{λh_i}x_{i−1},   e_i = z_i − x⁻_i,   x_i = x⁻_i + ψ_ip_i e_i

with a diffuse start: p = 1/ψ, x = z at the first measurement. Both recursions are scans.
"""

from __future__ import annotations

from math import pi, sqrt
from typing import NamedTuple

from scipy.special import erfcx, hyperu

from afa_core._array.arrays import Array, Namespace
from afa_core._array.scan import affine, fractional, prefixes, previous

MAX_CERTAIN = 2.0
"""Standardised innovations up to this are as reliable as any."""
MAX_REPETITIONS = 50
SAME_RELIABILITY = 1e-8


class Gains(NamedTuple):
    """What the filter of s series holds at n measurements, (s, n)."""

    before: Array  # p_{i−1}
    predicted: Array  # p⁻_i
    kept: Array  # 1 − K_i


def gains_of(
    carried: Array, driven: Array, reliability: Array, first: Array, *, xp: Namespace
) -> Gains:
    """Return the gains for E² and V of the lags, all (s, n); `first` marks first measurements."""
    scale = 1.0 + reliability * driven
    start = 1.0 / xp.where(first, reliability, 1.0)
    none = xp.zeros_like(scale)
    maps = (
        xp.where(first, none, carried / scale / scale),
        xp.where(first, start, driven / scale),
        xp.where(first, none, reliability * carried / scale),
    )
    variance = prefixes(fractional(xp), maps, axis=-1, xp=xp)[1]
    before = delayed(variance, xp=xp)
    predicted = carried * before + driven
    kept = xp.where(first, none, 1.0 / (1.0 + reliability * predicted))
    return Gains(before, predicted, kept)


def delayed(x: Array, *, xp: Namespace) -> Array:
    """Return x_{i−1} along the last axis, zero at the first."""
    return previous(xp.zeros_like(x[..., :1]), x, axis=-1, xp=xp)


def accumulate(slope: Array, constant: Array, *, xp: Namespace) -> Array:
    """Return x_i = slope_i x_{i−1} + constant_i from zero, along the last axis."""
    slopes = xp.broadcast_to(slope, constant.shape)
    return prefixes(affine, (slopes, constant), axis=-1, xp=xp)[1]


def reliability_of(square: Array, parts: int, dof: float, *, xp: Namespace) -> Array:
    """Return ψ = min(1, (ν + 4n)/(ν + y)) of innovations with y = |e|²/S, of n components."""
    weight = (dof + parts * MAX_CERTAIN**2) / (dof + square)
    return xp.where(weight < 1.0, weight, xp.ones_like(weight))


class Reweighted(NamedTuple):
    """The filter whose measurements have the reliability it gives them, of s series, (s, n)."""

    reliability: Array  # ψ
    predicted: Array  # x⁻
    variance: Array  # p⁻


def reweighted(
    values: Array,
    transition: tuple[Array, Array, Array],
    observed: Array,
    first: Array,
    start: Array,
    *,
    dof: float,
    parts: int,
    same: float,
    xp: Namespace,
) -> Reweighted:
    """Return the filter of values with n parts of total noise 1, for e^{λh}, E² and V of the lags.

    Measurements that are the `first` of a series without a prior are wholly reliable; V at the
    first token is the variance of a prior. Reliabilities are repeated from those of `start`.
    An innovation depends on earlier reliabilities alone, so there is one such set, and repetition
    reaches it from any start; it ends where none changes by more than `same`. Gross outliers are
    without effect as soon as they are known, after the first repetition.
    """
    factor, carried, driven = transition
    ones, none = xp.ones_like(driven), xp.zeros_like(driven)
    reliability = xp.where(observed, xp.where(first, ones, start), none)
    predicted, variance = xp.zeros_like(values), none
    for _ in range(MAX_REPETITIONS):
        _, variance, kept = gains_of(carried, driven, reliability, first, xp=xp)
        mean = accumulate(kept * factor, (1.0 - kept) * values, xp=xp)
        predicted = factor * delayed(mean, xp=xp)
        square = abs(values - predicted) ** 2 * (parts / (1.0 + variance))
        before = reliability
        reliability = reliability_of(square, parts, dof, xp=xp)
        reliability = xp.where(observed, xp.where(first, ones, reliability), none)
        if not bool(xp.any(abs(reliability - before) > same)):
            break
    return Reweighted(reliability, predicted, variance)


def first_measured(observed: Array, *, xp: Namespace) -> tuple[Array, Array]:
    """Return which is the first measurement of each series, and what comes after it, (s, n)."""
    seen = xp.cumulative_sum(xp.astype(observed, xp.int64), axis=-1)
    after = seen - xp.astype(observed, seen.dtype) > 0
    return xp.logical_and(observed, xp.logical_not(after)), after


def mean_weight(dof: float, parts: int) -> float:
    """Return the mean of the weight of normal data, E[ν/(ν + y)] with ny ~ χ²_n, n = 1 or 2."""
    half = 0.5 * dof
    return float(sqrt(pi * half) * erfcx(sqrt(half)) if parts == 1 else dof * hyperu(1, 1, dof))


def normal_scale(dof: float, parts: int) -> float:
    """Return c, the squared scale of the Student-t that fits n standard normal components best.

    E[(ν + n)y/(νc + y)] = n with y ~ χ²_n, that is E[νc/(νc + y)] = ν/(ν + n), by bisection.
    """
    low, high = 0.0, 1.0
    while (middle := 0.5 * (low + high)) not in (low, high):
        small = mean_weight(dof * middle / parts, parts) < dof / (dof + parts)
        low, high = (middle, high) if small else (low, middle)
    return middle
