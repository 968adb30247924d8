"""E, V/σ² and its slope in μ, of lags: numbers, tables of a regular grid, rows of pairs (spec §2).

With z = expm1(−μΔ): E = 1 + z and V/σ² = −z(2 + z)/2μ, neither of which cancels.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from afa_numpy.fused.compiled import BLOCK, exp_row, inlined
from afa_numpy.fused.rows import (
    BITS,
    DECAYED,
    LAG,
    SPARE,
    TABLE_DECAYED,
    TABLE_LAG,
    TABLE_SIGMA,
    TABLE_SLOPE,
    TABLE_VARIANCE,
    VARIANCE,
)

SLOW = 1e-5
"""Where μΔ is at most that in a row, its third power is below rounding."""
SMALL = 0.125
"""Where μΔ is below, the slope is that of a series."""


@inlined
def unit_variance(rate: float, lag: float) -> Any:
    """Return V/σ² = Δ φ₁(−2μΔ)."""
    x = 2.0 * rate * lag
    return lag * (1.0 - 0.5 * x) if x < 1e-8 else -np.expm1(-x) / (2.0 * rate)


@inlined
def unit_variance_slope(rate: float, lag: float) -> Any:
    """Return the derivative of V/σ² in μ, −2Δ²φ₁'(−2μΔ)."""
    if rate * lag < SMALL:
        x, series = -2.0 * rate * lag, 1.0
        for k in range(10, 0, -1):
            series = 1.0 + (k + 1) / (k * (k + 2)) * x * series
        return -lag * lag * series
    return (lag * np.exp(-2.0 * rate * lag) - unit_variance(rate, lag)) / rate


@inlined
def covariance_tables(rate: float, process: float, measurement: float, rows: Any) -> None:
    """Write E and Σ − γ² for whole lags up to `BLOCK` − 1 either way."""
    middle = BLOCK - 1
    for lag in range(BLOCK):
        e = np.exp(-rate * lag)
        sigma = process * unit_variance(rate, float(lag)) + measurement * e * e
        for place in (middle - lag, middle + lag):
            rows[TABLE_DECAYED, place] = e
            rows[TABLE_SIGMA, place] = sigma


@inlined
def slope_tables(rate: float, rows: Any) -> None:
    """Write |Δ|, V/σ² and its derivative in μ for the same lags."""
    middle = BLOCK - 1
    for lag in range(BLOCK):
        variance = unit_variance(rate, float(lag))
        slope = unit_variance_slope(rate, float(lag))
        for place in (middle - lag, middle + lag):
            rows[TABLE_LAG, place] = lag
            rows[TABLE_VARIANCE, place] = variance
            rows[TABLE_SLOPE, place] = slope


@inlined
def lag_row(time: float, times: Any, rate: float, rows: Any, count: int) -> None:
    """Write |Δ|, E and V/σ² of the lags from a time to each of some."""
    one = rows.dtype.type(1)
    two, mu = one + one, rows.dtype.type(rate)
    longest = 0.0
    for j in range(count):
        gap = abs(time - times[j])
        rows[LAG, j] = gap
        longest = gap if gap > longest else longest
    if rate * longest < SLOW:
        half, third = one / two, two / (one + two)
        for j in range(count):
            y = mu * rows[LAG, j]
            rows[DECAYED, j] = one - y * (one - half * y)
            rows[VARIANCE, j] = rows[LAG, j] * (one - y * (one - third * y))
        return
    per = one / (two * mu)
    for j in range(count):
        rows[SPARE, j] = -mu * rows[LAG, j]
    exp_row(rows[SPARE], rows[DECAYED], rows[VARIANCE], rows[BITS].view(np.int32), count)
    for j in range(count):
        z = rows[VARIANCE, j]
        rows[VARIANCE, j] = -per * z * (two + z)


@inlined
def slope_row(rate: float, rows: Any, count: int) -> None:
    """Write the derivative of V/σ² in μ of a row of lags, in the spare row."""
    mu, small, one = rows.dtype.type(rate), rows.dtype.type(SMALL), rows.dtype.type(1)
    safe = mu if mu > rows.dtype.type(0) else one
    for j in range(count):
        lag, decayed = rows[LAG, j], rows[DECAYED, j]
        y = mu * lag
        short = y < small
        x = -(y + y) if short else y - y
        series = one
        for k in range(10, 0, -1):
            series = one + rows.dtype.type((k + 1) / (k * (k + 2))) * x * series
        long = (lag * decayed * decayed - rows[VARIANCE, j]) / safe
        rows[SPARE, j] = -lag * lag * series if short else long
