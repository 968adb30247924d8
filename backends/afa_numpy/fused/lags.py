"""E, V/σ² and its slope in μ, of lags: of numbers, and of rows (spec §2).

With z = expm1(−μΔ): E = 1 + z and V/σ² = −z(2 + z)/2μ, neither of which cancels.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from afa_numpy.fused.compiled import compiled, exp_row, inlined
from afa_numpy.fused.rows import BITS, DECAYED, LAG, SPARE, VARIANCE

SLOW = 1e-5
"""Where the sum of μΔ is below that in a row, their third powers are below rounding."""
SMALL = 0.125
"""Where μΔ is below, the slope is that of a series."""


@inlined
def unit_variance(rate: float, lag: float) -> Any:
    """Return V/σ² = Δ φ₁(−2μΔ)."""
    x = 2.0 * rate * lag
    return lag * (1.0 - 0.5 * x) if x < 1e-8 else -np.expm1(-x) / (2.0 * rate)


@inlined
def lag_row(time: float, times: Any, rate: float, rows: Any, count: int) -> None:
    """Write |Δ|, E and V/σ² of the lags from a time to each of some."""
    for j in range(count):
        rows[LAG, j] = abs(time - times[j])
    decay_row(rate, rows, count)


@compiled
def decay_row(rate: float, rows: Any, count: int) -> None:
    """Write E and V/σ² of a row of lags."""
    one = rows.dtype.type(1)
    two, mu = one + one, rows.dtype.type(rate)
    total = one - one
    for j in range(count):
        total += rows[LAG, j]
    if mu * total < SLOW:
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


@compiled
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
