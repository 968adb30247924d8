"""One step of the recursion: carry a belief over a lag, take in a measurement."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from afa_core._array.arrays import Array, Namespace
from afa_core.kalman.problem import State


class Measurement(NamedTuple):
    """The measurement of one token, in the rotating frame."""

    value: Array  # (p, ..., d)
    observed: Array  # (..., d)
    variance: Array  # (..., d)


class Path(NamedTuple):
    """The beliefs along a series: states whose arrays have an axis of time, (..., n, d)."""

    predicted: State
    filtered: State
    log_likelihood: Array  # (..., d)
    weight: Array | None  # (..., n)


Weigh = Callable[[State, Measurement], Array]
"""Give the weight (...) of a measurement from the belief before it."""


def propagate(state: State, transition: Array, process: Array) -> State:
    """Return the belief a lag later: E x, E²P + V."""
    variance = transition**2 * state.variance + process
    return State(transition * state.mean, variance, state.known)


def update(predicted: State, z: Measurement, *, xp: Namespace) -> State:
    """Return the belief after a measurement: x⁻ + K(z − x⁻), Kη², with K = P⁻/(P⁻ + η²)."""
    share = gain(predicted.variance, predicted.known, z, xp=xp)
    return State(
        predicted.mean + share * (z.value - predicted.mean),
        xp.where(z.observed, share * z.variance, predicted.variance),
        xp.logical_or(predicted.known, z.observed),
    )


def gain(variance: Array, known: Array, z: Measurement, *, xp: Namespace) -> Array:
    """Return K = P⁻/(P⁻ + η²), the share of a measurement in the belief after it.

    K = 1 starts a diffuse mode, K = 0 where nothing is measured or nothing left to learn.
    """
    total = variance + z.variance
    share = variance / xp.where(total > 0.0, total, 1.0)
    share = xp.where(known, share, 1.0)
    return xp.where(z.observed, share, 0.0)


def kept(variance: Array, known: Array, z: Measurement, *, xp: Namespace) -> Array:
    """Return 1 − K = η²/(P⁻ + η²), the share of the belief before a measurement."""
    total = variance + z.variance
    share = xp.where(total > 0.0, z.variance / xp.where(total > 0.0, total, 1.0), 1.0)
    share = xp.where(known, share, 0.0)
    return xp.where(z.observed, share, 1.0)


def log_density(predicted: State, z: Measurement, *, xp: Namespace) -> Array:
    """Return the log-density of a measurement, (..., d): normal, of variance S over p parts."""
    parts = z.value.shape[0]
    total = predicted.variance + z.variance
    counts = xp.logical_and(xp.logical_and(z.observed, predicted.known), total > 0.0)
    total = xp.where(counts, total, 1.0)
    residual2 = xp.sum((z.value - predicted.mean) ** 2, axis=0)
    scaled = math.log(2.0 * math.pi / parts) + xp.log(total) + residual2 / total
    return xp.where(counts, -0.5 * parts * scaled, 0.0)


def reweighted(z: Measurement, weight: Array) -> Measurement:
    """Return the measurement with variance η²/w."""
    return z._replace(variance=z.variance / weight[..., None])


def stack(states: list[State], *, xp: Namespace) -> State:
    """Return the beliefs of all tokens, with an axis of time."""
    return State(*(xp.stack([s[k] for s in states], axis=-2) for k in range(3)))
