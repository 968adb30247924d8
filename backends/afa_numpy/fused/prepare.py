"""What the blocks of a head share: units of weights, whether powers are in range, far weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from afa_numpy.fused.compiled import compiled, inlined
from afa_numpy.fused.lags import unit_variance
from afa_numpy.fused.tiles import bounds, weighed_at

LOG_RANGE_SHARE = 0.85
"""Share of the logarithm of the largest number that the range of a power may span."""


@inlined
def _covariance(arrays: Any, h: int, lag: float) -> Any:
    """Return Σ − γ² at a lag."""
    decay = arrays.decay[h, 0]
    square = np.exp(-2.0 * decay * lag)
    return arrays.process[h, 0] * unit_variance(decay, lag) + arrays.measurement[h, 0] * square


@compiled
def longest(x: Any) -> Any:
    """Return the greatest length of tokens (n, 2d), NaN if one is not finite."""
    greatest = 0.0
    for i in range(x.shape[0]):
        square = 0.0
        for d in range(x.shape[1]):
            square += x[i, d] * x[i, d]
        if not square < np.inf:
            return np.nan
        greatest = max(greatest, square)
    return np.sqrt(greatest)


@compiled
def span_of(arrays: Any, h: int) -> Any:
    """Return the longest lag."""
    first, last = bounds(arrays.query_times[h])
    least, greatest = bounds(arrays.key_times[h])
    return max(last - least, greatest - first, 0.0)


@compiled
def covariances(arrays: Any, h: int, span: float) -> tuple[float, float]:
    """Return the least and the greatest Σ of lags up to a span."""
    near, distant = _covariance(arrays, h, 0.0), _covariance(arrays, h, span)
    low, high = min(near, distant), max(near, distant)  # Σ is monotone in the lag (spec §2)
    quiet, noisy = bounds(arrays.query_noise[h, :, 0])
    return low + quiet, high + noisy


@compiled
def prepare_head(arrays: Any, flags: Any, largest: float, prepared: Any, h: int) -> None:
    """Write the units of the weights of a head, whether they are powers, and those of far keys."""
    finite, powers, units, far = prepared
    span = span_of(arrays, h)
    low, high = covariances(arrays, h, span)
    lengths = longest(arrays.query[h]) + longest(arrays.key[h])
    top = high + arrays.scale[h] * lengths * lengths
    size = lengths * lengths + longest(arrays.value[h]) + top
    finite[h] = size < 0.1 * largest and span < np.inf and times_finite(arrays, h)
    units[h] = np.sqrt(low) * np.sqrt(top) if low > 0.0 else top
    powers[h] = flags.power in (0, 1)
    if flags.power > 1 and low > 0.0:
        spread = flags.power * np.log(top / low)
        powers[h] = spread < LOG_RANGE_SHARE * np.log(largest)
    if flags.tolerance > 0.0:
        far_weights(arrays, flags, h, far)


@compiled
def times_finite(arrays: Any, h: int) -> bool:
    """Whether all times are finite."""
    total = 0.0
    for i in range(arrays.query_times.shape[1]):
        total += arrays.query_times[h, i]
    for j in range(arrays.key_times.shape[1]):
        total += arrays.key_times[h, j]
    return -np.inf < total < np.inf


@compiled
def far_weights(arrays: Any, flags: Any, h: int, far: Any) -> None:
    """Write log Σ e^{−β key_j} over the keys from each on outwards, on either side."""
    keys = arrays.key.shape[1]
    for side in range(flags.directions):
        for s in range(far.shape[3]):
            total, (beta, component) = -np.inf, weighed_at(arrays, h, s)
            for each in range(keys):
                j = each if side == 0 else keys - 1 - each
                level = arrays.key_level[h, j, side, component]
                level = -beta * level if level < np.inf else -np.inf
                high, low = max(total, level), min(total, level)
                total = high + np.log1p(np.exp(low - high)) if low > -np.inf else high
                far[h, j, side, s] = total
