"""E and V of a lag, with the slopes that carry gradients to times and parameters (spec §2)."""

from __future__ import annotations

from typing import NamedTuple

from afa_core._array.arrays import Array, Namespace
from afa_core.model.covariance import decay_factor, phi1, phi1_slope


class Lagged(NamedTuple):
    """E(Δ) = e^{−μΔ}, and V(Δ)/σ² = Δ φ₁(−2μΔ), of lags Δ ≥ 0."""

    lag: Array
    decayed: Array
    walk: Array


def lagged(lag: Array, decay: Array, *, xp: Namespace) -> Lagged:
    """Evaluate both; `decay` broadcasts against `lag`."""
    walk = lag * phi1(-2.0 * decay * lag, xp=xp)
    return Lagged(lag, decay_factor(lag, decay, xp=xp), walk)


def following(first: Lagged, then: Lagged) -> Lagged:
    """Return E and V of the sum of two lags (spec §2: V is a semigroup); `then` is the later."""
    square = then.decayed * then.decayed
    return Lagged(
        first.lag + then.lag, first.decayed * then.decayed, then.walk + square * first.walk
    )


class Slopes(NamedTuple):
    """Derivatives of a number in decay, lag and process noise, entry by entry."""

    decay: Array
    lag: Array
    process: Array


def bend(lag: Array, decay: Array, *, xp: Namespace) -> Array:
    """Return the derivative of V(Δ)/σ² in μ, −2Δ² φ₁'(−2μΔ)."""
    return -2.0 * lag * lag * phi1_slope(-2.0 * decay * lag, xp=xp)


def slopes(
    at: Lagged, bent: Array, decay: Array, process: Array, by_log: Array, by_variance: Array
) -> Slopes:
    """Return them from the derivatives in log E and in V, and from what `bend` returns.

    ∂V/∂Δ = σ²E², ∂ log E = −Δ ∂μ − μ ∂Δ.
    """
    driven = process * by_variance
    return Slopes(
        bent * driven - at.lag * by_log,
        at.decayed * at.decayed * driven - decay * by_log,
        at.walk * by_variance,
    )


def frame_time(times: Array, frame: int, *, xp: Namespace) -> Array:
    """Return the time t_c of the frame of a tile of keys: its latest or earliest, (g, 1, 1)."""
    known = xp.isfinite(times)
    if frame > 0:
        return xp.max(xp.where(known, times, -xp.inf), axis=1, keepdims=True)
    return xp.min(xp.where(known, times, xp.inf), axis=1, keepdims=True)


def flushed(x: Array, *, xp: Namespace) -> Array:
    """Zero what is below the least normal number, where arithmetic is slow."""
    return xp.where(x < xp.finfo(x.dtype).smallest_normal, 0.0, x)
