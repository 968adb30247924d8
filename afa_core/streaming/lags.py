"""E and V of a lag, and their derivatives in the lag and the parameters (spec §2)."""

from __future__ import annotations

from typing import NamedTuple

from afa_core._array.arrays import Array, Namespace
from afa_core.model.covariance import decay_factor, phi1, phi1_derivative


class LagFactors(NamedTuple):
    """E(Δ) = e^{−μΔ}, and V(Δ)/σ² = Δ φ₁(−2μΔ), of lags Δ ≥ 0."""

    lag: Array
    decayed: Array
    unit_variance: Array


def lag_factors(lag: Array, decay: Array, *, xp: Namespace) -> LagFactors:
    """Evaluate E and V of lags; `decay` broadcasts against `lag`."""
    unit_variance = lag * phi1(-2.0 * decay * lag, xp=xp)
    return LagFactors(lag, decay_factor(lag, decay, xp=xp), unit_variance)


def compose_lags(first: LagFactors, then: LagFactors) -> LagFactors:
    """Return E and V of the sum of two lags, `then` the later one (semigroup property, spec §2)."""
    square = then.decayed * then.decayed
    return LagFactors(
        first.lag + then.lag,
        first.decayed * then.decayed,
        then.unit_variance + square * first.unit_variance,
    )


class LagGrads(NamedTuple):
    """Gradients in decay, lag and process noise, entry by entry."""

    decay: Array
    lag: Array
    process: Array


def d_variance_d_decay(lag: Array, decay: Array, *, xp: Namespace) -> Array:
    """Return the derivative of V(Δ)/σ² in μ, −2Δ² φ₁'(−2μΔ)."""
    return -2.0 * lag * (lag * phi1_derivative(-2.0 * decay * lag, xp=xp))  # lag² might overflow


def lag_grads(
    at: LagFactors,
    decay: Array,
    process: Array,
    grad_log: Array,
    grad_variance: Array,
    *,
    xp: Namespace,
) -> LagGrads:
    """Propagate the gradients in log E and in V.

    ∂V/∂Δ = σ²E², ∂ log E = −Δ ∂μ − μ ∂Δ.
    """
    driven = process * grad_variance
    return LagGrads(
        d_variance_d_decay(at.lag, decay, xp=xp) * driven - at.lag * grad_log,
        at.decayed * at.decayed * driven - decay * grad_log,
        at.unit_variance * grad_variance,
    )


def reference_time(times: Array, order: int, *, xp: Namespace) -> Array:
    """Return the reference time t_c of a key block: its latest or earliest time, (g, 1, 1)."""
    known = xp.isfinite(times)
    if order > 0:
        return xp.max(xp.where(known, times, -xp.inf), axis=1, keepdims=True)
    return xp.min(xp.where(known, times, xp.inf), axis=1, keepdims=True)


def flush_subnormal(x: Array, *, xp: Namespace) -> Array:
    """Set subnormal numbers to zero: arithmetic on them is slow."""
    return xp.where(x < xp.finfo(x.dtype).smallest_normal, 0.0, x)
