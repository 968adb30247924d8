"""E and Σ of pairs, and gradients through lags (spec §2)."""

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl

EARLIER, BESIDE, LATER = tl.constexpr(1), tl.constexpr(0), tl.constexpr(-1)
"""Where the keys of a tile are: all before its queries, around them, or all after them."""


class LagGradients(NamedTuple):
    """Gradients in σ², μ and |Δ|."""

    process: Any
    decay: Any
    lag: Any


@triton.jit
def of_queries(x, flags: tl.constexpr):
    """Return numbers of queries along a tile's axis of queries."""
    return x[None, :] if flags.transposed else x[:, None]


@triton.jit
def of_keys(x, flags: tl.constexpr):
    """Return numbers of keys along a tile's axis of keys."""
    return x[:, None] if flags.transposed else x[None, :]


@triton.jit
def unit_variance(decay, lag, decayed):
    """Return V/σ² = Δ φ₁(−2μΔ) of lags and their E."""
    x = 2.0 * decay * lag
    series = 1.0 - x * (1.0 / 9.0)
    for k in tl.static_range(8, 1, -1):
        series = 1.0 - x * (1.0 / k) * series
    small = x < 0.5
    exact = (1.0 - decayed * decayed) / tl.where(small, 1.0, x)
    return lag * tl.where(small, series, exact)


@triton.jit
def unit_variance_slope(decay, lag, decayed, variance):
    """Return the derivative of V/σ² in μ."""
    small = decay * lag < 0.25
    x = tl.where(small, -2.0 * decay * lag, 0.0)
    series = 1.0 + x * 0.0
    for k in tl.static_range(10, 0, -1):
        series = 1.0 + (k + 1.0) / (k * (k + 2.0)) * x * series
    exact = (lag * decayed * decayed - variance) / tl.where(decay > 0.0, decay, 1.0)
    return tl.where(small, -lag * lag * series, exact)


@triton.jit
def differences(x, y, flags: tl.constexpr):
    """Return x_i − y_j of numbers of queries and of keys, from double to single precision.

    Each is the sum of two numbers in single precision, so that no pair takes a double.
    """
    high_x, high_y = x.to(tl.float32), y.to(tl.float32)
    low_x = tl.where(tl.abs(high_x) < float("inf"), x - high_x, 0.0).to(tl.float32)
    low_y = tl.where(tl.abs(high_y) < float("inf"), y - high_y, 0.0).to(tl.float32)
    high = of_queries(high_x, flags) - of_keys(high_y, flags)
    return high + (of_queries(low_x, flags) - of_keys(low_y, flags))


@triton.jit
def signed_lags(queries, keys, visible, flags: tl.constexpr):
    """Return Δ of every pair, zero of hidden ones."""
    return tl.where(visible, differences(queries.times, keys.times, flags), 0.0)


@triton.jit
def covariance_of_lags(model, queries, lags, flags: tl.constexpr):
    """Return E and Σ of pairs from their lags."""
    decayed = tl.exp(-model.decay * lags)
    variance = model.process * unit_variance(model.decay, lags, decayed)
    sigma = of_queries(queries.noise, flags) + variance + decayed * decayed * model.measurement
    return decayed, sigma


@triton.jit
def lag_gradients(model, lag, decayed, sigma, log_decay):
    """Return gradients from those in V + γ² and log E, which holds E's part in Σ."""
    variance = unit_variance(model.decay, lag, decayed)
    slope = unit_variance_slope(model.decay, lag, decayed, variance)
    return LagGradients(
        sigma * variance,
        model.process * sigma * slope - log_decay * lag,
        model.process * decayed * decayed * sigma - model.decay * log_decay,
    )
