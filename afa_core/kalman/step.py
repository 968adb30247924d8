"""One step of the recursion: propagate a belief over a lag, update it with a measurement."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from afa_core._array.arrays import Array, Namespace
from afa_core.kalman.measurements import Belief


class Measurement(NamedTuple):
    """The measurement of one token, in the rotating frame."""

    value: Array  # (p, ..., d)
    observed: Array  # (1, ..., d)
    variance: Array  # (1, ..., d)


class FilterPass(NamedTuple):
    """The beliefs of a filter at all times; their arrays have an axis of tokens, (1, ..., n, d)."""

    predicted: Belief
    filtered: Belief
    log_likelihood: Array  # (1, ..., d)
    weight: Array | None  # (1, ..., n)


WeightFunction = Callable[[Belief, Measurement], Array]
"""Returns the weight (1, ...) of a measurement, given the belief before it."""


def propagate(belief: Belief, transition: Array, process: Array) -> Belief:
    """Return the belief one lag later: E x, E²P + V."""
    variance = transition**2 * belief.variance + process
    return Belief(transition * belief.mean, variance, belief.known)


def update(predicted: Belief, z: Measurement, *, xp: Namespace) -> Belief:
    """Return the belief after a measurement: x⁻ + K(z − x⁻), Kη², with K = P⁻/(P⁻ + η²)."""
    share = gain(predicted.variance, predicted.known, z, xp=xp)
    return Belief(
        predicted.mean + share * (z.value - predicted.mean),
        xp.where(z.observed, share * z.variance, predicted.variance),
        xp.logical_or(predicted.known, z.observed),
    )


def gain(variance: Array, known: Array, z: Measurement, *, xp: Namespace) -> Array:
    """Return K = P⁻/(P⁻ + η²).

    K = 1 where the measurement starts a diffuse mode, K = 0 where nothing is measured or both
    variances are zero.
    """
    total = variance + z.variance
    share = variance / xp.where(total > 0.0, total, 1.0)
    share = xp.where(known, share, 1.0)
    return xp.where(z.observed, share, 0.0)


def one_minus_gain(variance: Array, known: Array, z: Measurement, *, xp: Namespace) -> Array:
    """Return 1 − K = η²/(P⁻ + η²), without cancellation."""
    total = variance + z.variance
    share = xp.where(total > 0.0, z.variance / xp.where(total > 0.0, total, 1.0), 1.0)
    share = xp.where(known, share, 0.0)
    return xp.where(z.observed, share, 1.0)


def log_density(predicted: Belief, z: Measurement, *, xp: Namespace) -> Array:
    """Return the log-density of a measurement, (1, ..., d): normal, of variance S over p parts."""
    parts = z.value.shape[0]
    total = predicted.variance + z.variance
    counted = xp.logical_and(xp.logical_and(z.observed, predicted.known), total > 0.0)
    total = xp.where(counted, total, 1.0)
    residual = z.value - predicted.mean
    square = residual * (residual / total)  # a square of its own might overflow
    distance = xp.sum(square, axis=0, keepdims=True)
    scaled = math.log(2.0 * math.pi / parts) + xp.log(total) + distance
    return xp.where(counted, -0.5 * parts * scaled, 0.0)


def reweighted(z: Measurement, weight: Array, *, xp: Namespace) -> Measurement:
    """Return the measurement with variance η²/w; none where that is infinite, as for w = 0."""
    weight = weight[..., None]
    infinite = z.variance > xp.where(weight < 1.0, weight, 1.0) * xp.finfo(weight.dtype).max
    divisor = xp.where(xp.logical_or(infinite, weight <= 0.0), 1.0, weight)
    observed = xp.logical_and(z.observed, xp.logical_not(infinite))
    return z._replace(variance=z.variance / divisor, observed=observed)


def stack_beliefs(beliefs: list[Belief], *, xp: Namespace) -> Belief:
    """Return the beliefs of all tokens, with an axis of tokens."""
    return Belief(*(xp.stack([belief[k] for belief in beliefs], axis=-2) for k in range(3)))
