"""E and Σ of the pairs of a tile, and gradients through them (spec §2).

Where all keys of a tile come before all its queries, or after, exponentials are taken of queries
and of keys, not of pairs: then E = e f and Σ = a + e²g by way of a reference time in between.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl

EARLIER, BESIDE, LATER = tl.constexpr(1), tl.constexpr(0), tl.constexpr(-1)
"""Where the keys of a tile are in time."""


class Factors(NamedTuple):
    """E = e f and Σ = a + e²g of a tile, and the lags to its reference time."""

    e: Any  # of queries
    a: Any
    query_lags: Any
    f: Any  # of keys
    g: Any
    key_lags: Any


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
def order_of(queries, keys, flags: tl.constexpr):
    """Return where the keys of a tile are in time."""
    low = tl.min(tl.where(keys.exists, keys.times, float("inf")), 0)
    high = tl.max(tl.where(keys.exists, keys.times, float("-inf")), 0)
    order = tl.where(high < queries.least, EARLIER, BESIDE)
    if flags.directions != 1:  # later keys have no influence in one direction, and no level
        order = tl.where(low > queries.greatest, LATER, order)
    return order


@triton.jit
def factors_of(model, queries, keys, order):
    """Return the factors of a tile by way of its key that is nearest to the queries."""
    low = tl.min(tl.where(keys.exists, keys.times, float("inf")), 0)
    high = tl.max(tl.where(keys.exists, keys.times, float("-inf")), 0)
    reference = tl.where(order == LATER, low, high)
    query_lags = tl.abs(queries.times - reference).to(tl.float32)
    key_lags = tl.abs(tl.where(keys.exists, keys.times - reference, 0.0)).to(tl.float32)
    e, f = tl.exp(-model.decay * query_lags), tl.exp(-model.decay * key_lags)
    a = queries.noise + model.process * unit_variance(model.decay, query_lags, e)
    g = model.process * unit_variance(model.decay, key_lags, f) + f * f * model.measurement
    return Factors(e, a, query_lags, f, g, key_lags)


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
def covariance_of(model, queries, keys, visible, order, flags: tl.constexpr):
    """Return E and Σ of every pair."""
    if order != BESIDE:
        x = factors_of(model, queries, keys, order)
        decayed = of_queries(x.e, flags) * of_keys(x.f, flags)
        sigma = of_queries(x.a, flags) + of_queries(x.e * x.e, flags) * of_keys(x.g, flags)
    else:
        lags = tl.abs(signed_lags(queries, keys, visible, flags))
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
        model.process * sigma * slope - log_decay * lag,  # which cancel pair by pair
        model.process * decayed * decayed * sigma - model.decay * log_decay,
    )
