r"""Smoothing of states that have no process noise and decay to their level.

Such a state is a curve with one unknown, x(t) = e(t)x₁ with e(t) = e^{λ(t−t₁)} from the first
measurement on, and has no stationary distribution to begin with. With weights w_i, in units of the
measurement noise,

    p₁ = Σ w_i|e_i|²,   x̂₁ = Σ w_i e_i^* z_i / p₁,   1/p(t) = |e(t)|²/p₁

where the weights, if robust, are those of what the other measurements predict.
"""

from __future__ import annotations

from math import log

from afa_core._array.arrays import Array, Namespace
from afa_core.timeseries.reweighting import MAX_REPETITIONS, SAME_RELIABILITY, delayed
from afa_core.timeseries.states import (
    Belief,
    Query,
    Series,
    calibrated,
    robust_weight,
)


def is_transient(series: Series, *, xp: Namespace) -> Array:
    """Return which series have a decay and no process noise, (s,)."""
    return xp.logical_and(series.decay > 0.0, series.process <= 0.0)


def smoothed_transient(series: Series, dof: float | None, *, xp: Namespace) -> Belief:
    """Return the estimates of the curves of largest likelihood, robust if ν is given.

    Weights begin with the curve of least absolute residuals, and are repeated until they agree
    with their own.
    """
    curve = _curve(series, xp=xp)
    exact = _start(series, curve, xp.ones_like(abs(curve)), xp=xp)
    if dof is None:
        return _along(curve, exact, xp=xp)
    none = xp.zeros_like(abs(curve))
    query = Query(curve * _least_absolute(series, curve, xp=xp), none, causal=False)
    start, before = exact, none
    for _ in range(MAX_REPETITIONS):
        weight = robust_weight(series, query, dof, xp=xp)
        start = _start(series, curve, weight, xp=xp)
        found = _along(curve, start, xp=xp)
        query = Query(found.predicted, found.predicted_variance, causal=False)
        if not bool(xp.any(abs(weight - before) > SAME_RELIABILITY)):
            break
        before = weight
    own, rest = (
        calibrated(*x, series, dof, xp=xp)
        for x in (
            (1.0 / start.variance, exact.variance),
            (1.0 / start.predicted_variance, exact.predicted_variance),
        )
    )
    return _along(curve, start._replace(variance=own, predicted_variance=rest), xp=xp)


def _curve(series: Series, *, xp: Namespace) -> Array:
    """Return e(t), (s, n), as large before the first measurement as has a square."""
    places = xp.argmax(xp.astype(series.observed, xp.int8), axis=-1)
    lag = series.times - xp.take(series.times, places, axis=-1)[:, None]
    exponent = -series.decay[:, None] * lag
    size = xp.exp(xp.clip(exponent, None, 0.2 * log(float(xp.finfo(exponent.dtype).max))))
    if not series.paired:
        return size
    angle = series.frequency[:, None] * lag
    return size * (xp.cos(angle) + 1j * xp.sin(angle))


def _start(series: Series, curve: Array, weight: Array, *, xp: Namespace) -> Belief:
    """Return what is known of x₁, from all measurements, (s, 1), and from the others, (s, n)."""
    seen = xp.where(series.observed, weight, 0.0)
    part = seen * (xp.conj(curve) if series.paired else curve) * series.values
    own = seen * abs(curve) ** 2

    def others(x: Array) -> Array:
        before, after = x, xp.flip(x, axis=-1)
        before, after = (delayed(xp.cumulative_sum(y, axis=-1), xp=xp) for y in (before, after))
        return before + xp.flip(after, axis=-1)

    def divided(total: Array, precision: Array) -> tuple[Array, Array]:
        known = precision > 0.0
        divisor = xp.where(known, precision, 1.0)
        return total / divisor, xp.where(known, 1.0 / divisor, xp.inf)

    whole = (xp.sum(x, axis=-1, keepdims=True) for x in (part, own))
    return Belief(*divided(*whole), *divided(others(part), others(own)))


def _least_absolute(series: Series, curve: Array, *, xp: Namespace) -> Array:
    """Return x₁ of least Σ|z_i − e_i x₁|, by components, (s, 1): the weighted median of z_i/e_i."""
    weight = xp.where(series.observed, abs(curve), 0.0)
    known = weight > 0.0
    ratio = xp.where(known, series.values / xp.where(known, curve, xp.ones_like(curve)), 0.0)

    def median(x: Array) -> Array:
        order = xp.argsort(x, axis=-1)
        below = xp.cumulative_sum(xp.take_along_axis(weight, order, axis=-1), axis=-1)
        half = xp.astype(below >= 0.5 * below[:, -1:], xp.int8)
        place = xp.argmax(half, axis=-1, keepdims=True)
        return xp.take_along_axis(xp.take_along_axis(x, order, axis=-1), place, axis=-1)

    return median(xp.real(ratio)) + 1j * median(xp.imag(ratio)) if series.paired else median(ratio)


def _along(curve: Array, start: Belief, *, xp: Namespace) -> Belief:
    """Return what is known along the curve."""

    def carried(mean: Array, variance: Array) -> tuple[Array, Array]:
        known = xp.isfinite(variance)
        grown = abs(curve) ** 2 * xp.where(known, variance, 0.0)
        return curve * mean, xp.where(known, grown, xp.inf)

    return Belief(*carried(*start[:2]), *carried(*start[2:]))
