"""What the blocks of a head share in the diagonal form: ranges of powers, far weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from afa_numpy.fused.compiled import compiled
from afa_numpy.fused.lags import unit_variance
from afa_numpy.fused.prepare import far_weights, longest, span_of, times_finite
from afa_numpy.fused.tiles import bounds

LOG_RANGE_SHARE = 0.8
"""Share of the logarithm of the largest number that the logarithm of a weight may reach."""


@compiled
def prepare_head(arrays: Any, flags: Any, largest: float, prepared: Any, h: int) -> None:
    """Write whether weights are powers, and those of far keys; no number but Σ > 0 is finite."""
    finite, powers, units, far = prepared
    span = span_of(arrays, h)
    lengths = longest(arrays.query[h]) + longest(arrays.key[h])
    residual, size, ratio, reach = arrays.scale[h] * lengths * lengths, 0.0, 0.0, 0.0
    for k in range(arrays.process.shape[1]):
        decay = arrays.decay[h, k]
        near, square = arrays.measurement[h, k], np.exp(-2.0 * decay * span)
        distant = arrays.process[h, k] * unit_variance(decay, span) + near * square
        quiet, noisy = bounds(arrays.query_noise[h, :, k])
        low, high = min(near, distant) + quiet, max(near, distant) + noisy
        if not low > 0.0:
            size = np.inf
            continue
        size = max(size, high, 1.0 / low)
        ratio += (high + residual) / low
        reach = max(reach, abs(np.log(low)), abs(np.log(high)))
    size += lengths * lengths + longest(arrays.value[h]) + residual
    finite[h] = size < 0.1 * largest and span < np.inf and times_finite(arrays, h)
    spread = flags.power * np.log1p(ratio) + reach
    in_range = spread < LOG_RANGE_SHARE * np.log(largest)
    powers[h] = flags.power == 0 or (flags.power > 0 and (in_range or not arrays.scale[h] > 0.0))
    units[h] = 1.0
    if flags.tolerance > 0.0:
        far_weights(arrays, flags, h, far)
