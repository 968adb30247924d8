"""The recursions of the filter and the smoother as associative scans: log n steps for n tokens.

The effect of a token on the variance is a fractional map, its effect on the mean an affine map,
and the composition of maps is associative. All coefficients are nonnegative, so nothing cancels,
and the factors of the variance and of the mean are at most 1, so nothing grows.
"""

from __future__ import annotations

from afa_core._array.arrays import Array, Namespace, insert_axes
from afa_core._array.scan import (
    Combine,
    Elements,
    affine,
    fractional,
    fractional_value,
    prefixes,
    previous,
    suffixes,
)
from afa_core.kalman.measurements import Belief, Measurements
from afa_core.kalman.step import (
    FilterPass,
    Measurement,
    gain,
    log_density,
    one_minus_gain,
    update,
)
from afa_core.model.covariance import decay_factor, propagated_covariance

TOKENS = -2
"""The axis of tokens in every array here."""


def scan_filter(data: Measurements, *, xp: Namespace) -> FilterPass:
    """Run the filter: the variances by one scan, the means by another.

    The scans give the belief before each token. The belief after it is one step of the recursion,
    for all tokens at once.
    """
    transition, process = data.transitions(xp=xp)
    z = Measurement(data.value, data.observed, data.noise(xp=xp)[..., None, :])
    start = Belief(*(x[..., None, :] for x in data.start))
    (measured,) = prefixes(_logical_or(xp), (data.observed,), axis=TOKENS, xp=xp)
    known = previous(start.known, xp.logical_or(start.known, measured), axis=TOKENS, xp=xp)

    maps = fractional_maps(z, known, transition, process, xp=xp)
    maps = prefixes(fractional(xp), maps, axis=TOKENS, xp=xp)
    variance = fractional_value(maps, start.variance, xp=xp)
    variance = transition**2 * previous(start.variance, variance, axis=TOKENS, xp=xp) + process

    slope = transition * one_minus_gain(variance, known, z, xp=xp)
    constant = gain(variance, known, z, xp=xp) * z.value
    slope, constant = prefixes(affine, (slope, constant), axis=TOKENS, xp=xp)
    mean = transition * previous(start.mean, slope * start.mean + constant, axis=TOKENS, xp=xp)

    predicted = Belief(mean, variance, known)
    likelihood = xp.sum(log_density(predicted, z, xp=xp), axis=TOKENS)
    return FilterPass(predicted, update(predicted, z, xp=xp), likelihood, None)


def scan_smoother(result: FilterPass, data: Measurements, *, xp: Namespace) -> Belief:
    """Return the smoothed beliefs, x + Pδ and uP, from those of the filter.

    With e = z − x⁻ and S = P⁻ + η², and quantities of the next token marked by +,

        δ = E(e₊/S₊ + (1 − K₊)δ₊),  u = V/P⁻₊ + (E²P/P⁻₊)(1 − K₊)u₊.

    The scans give cδ and cu, where c is √P, or 1 where that is zero: the factors of c₊δ₊ are at
    most 1, and do not underflow where 1 − K does.
    """
    own, following = result.filtered, Belief(*(x[..., 1:, :] for x in result.predicted))
    transition, process = (x[..., 1:, :] for x in data.transitions(xp=xp))
    noise = data.noise(xp=xp)[..., None, :]
    z = Measurement(data.value[..., 1:, :], data.observed[..., 1:, :], noise)
    scales = xp.sqrt(xp.where(own.variance > 0.0, own.variance, 1.0))
    scale, later_scale, last = scales[..., :-1, :], scales[..., 1:, :], scales[..., -1:, :]
    root = own.variance / scales

    total = following.variance + z.variance
    counted = xp.logical_and(z.observed, total > 0.0)
    deviation = xp.sqrt(xp.where(counted, total, 1.0))
    relative = scale / deviation
    remainder = relative * (xp.where(counted, z.variance, 1.0) / deviation / later_scale)
    starts = xp.logical_and(z.observed, xp.logical_not(following.known))
    remainder = xp.where(starts, 0.0, remainder)  # (1 − K₊)c/c₊
    innovation = transition * relative * ((z.value - following.mean) / deviation)
    innovation = xp.where(counted, innovation, 0.0)
    score = _backward_recurrence(transition * remainder, innovation, xp.zeros_like(last), xp=xp)

    uncertain = following.variance > 0.0
    total = xp.where(uncertain, following.variance, 1.0)
    driven = xp.where(uncertain, process / total, 1.0)
    carried = (transition * (root[..., :-1, :] / xp.sqrt(total))) ** 2  # E²P/P⁻₊
    carried = xp.where(process > 0.0, carried, 1.0 - driven)  # without V they may be subnormal
    carried = xp.where(uncertain, carried, 0.0)
    share = _backward_recurrence(carried * remainder, driven * scale, last, xp=xp)

    smoothed = Belief(own.mean + root * score, root * share, own.known)
    return _extend_to_unmeasured(smoothed, result.predicted.known, data, xp=xp)


def _backward_recurrence(slope: Array, constant: Array, last: Array, *, xp: Namespace) -> Array:
    """Return y with y_i = s_i y_{i+1} + c_i and the given last element, (1, ..., 1, d)."""

    def extended(x: Array, end: Array) -> Array:
        end = xp.broadcast_to(end, (*x.shape[:-2], 1, x.shape[-1]))
        return xp.concat([x, end], axis=TOKENS)

    maps = extended(slope, xp.zeros_like(last)), extended(constant, last)
    return suffixes(affine, maps, axis=TOKENS, xp=xp)[1]


def fractional_maps(
    z: Measurement, known: Array, transition: Array, process: Array, *, xp: Namespace
) -> Elements:
    """Return a, b, c of the step P ↦ b + aP/(1 + cP) of each token.

    It is P⁻ = E²P + V and then P⁻η²/(P⁻ + η²); P⁻ alone where there is no measurement, and η²
    where the measurement starts a diffuse mode.
    """
    total = process + z.variance
    safe = xp.where(total > 0.0, total, 1.0)
    share = xp.where(z.observed, z.variance / safe, 1.0)
    slope = (share * transition) ** 2
    constant = xp.where(z.observed, process / safe * z.variance, process)
    resistance = xp.where(xp.logical_and(z.observed, total > 0.0), transition**2 / safe, 0.0)
    starts = xp.logical_and(z.observed, xp.logical_not(known))
    return (
        xp.where(starts, 0.0, slope),
        xp.where(starts, z.variance, constant),
        xp.where(starts, 0.0, resistance),
    )


def _extend_to_unmeasured(
    smoothed: Belief, known: Array, data: Measurements, *, xp: Namespace
) -> Belief:
    """Fill in the tokens before a diffuse mode is first measured, from that first measurement.

    `known` is `smoothed.known` before the measurement of each token.
    """
    elapsed = data.steps.elapsed[..., None]  # (..., n, 1)
    first = xp.where(smoothed.known, elapsed, elapsed[..., -1:, :])
    ahead = xp.min(first, axis=TOKENS, keepdims=True) - elapsed
    ahead = xp.astype(xp.where(smoothed.known, 0.0, ahead), smoothed.variance.dtype, copy=False)
    decay, process = insert_axes(data.sde.decay, 1), insert_axes(data.sde.noise.process, 1)
    transition = decay_factor(ahead, decay, xp=xp)
    spread = propagated_covariance(ahead, decay, process, xp=xp)

    starts = xp.logical_and(smoothed.known, xp.logical_not(known))
    mean, variance = (
        xp.sum(xp.where(starts, x, 0.0), axis=TOKENS, keepdims=True)
        for x in (smoothed.mean, smoothed.variance)
    )
    unknown = xp.logical_not(transition > 0.0)
    transition = xp.where(unknown, 1.0, transition)
    mean = xp.where(unknown, 0.0, mean / transition)
    variance = xp.where(unknown, xp.inf, (variance + spread) / transition / transition)
    return Belief(
        xp.where(smoothed.known, smoothed.mean, mean),
        xp.where(smoothed.known, smoothed.variance, variance),
        smoothed.known,
    )


def _logical_or(xp: Namespace) -> Combine:
    return lambda one, two: (xp.logical_or(one[0], two[0]),)
