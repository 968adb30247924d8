"""Gradients through the lags of pairs, and through the levels of correlated keys.

With gradients by Σ and log E of every pair, those in parameters and times follow. A tile with a
reference time has Δ = Δ_i + Δ_j, E = e f and

    V/σ² = u_i + e²u_j,   ∂_μ V/σ² = s_i + e²(s_j − 2Δ_i u_j),

so that sums over its rows and its columns suffice.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from afa_numpy.fused.compiled import BLOCK, compiled, inlined
from afa_numpy.fused.gradients import RowSums
from afa_numpy.fused.lags import slope_row, unit_variance, unit_variance_slope
from afa_numpy.fused.rows import (
    DECAYED,
    GRAD_LOG_DECAY,
    GRAD_LOG_WEIGHT,
    GRAD_SIGMA,
    LAG,
    SPARE,
    SUM_LAG_SIGMA,
    SUM_LOG_DECAY,
    SUM_SIGMA,
    TABLE_LAG,
    TABLE_SLOPE,
    TABLE_VARIANCE,
    VARIANCE,
)
from afa_numpy.fused.tiles import EARLIER, LATER, Extent, Head

DECAY, PROCESS, MEASUREMENT, DOF, INVERSE_TEMPERATURE = range(5)
"""Places of the gradients in parameters."""


class Gradients(NamedTuple):
    """Gradients in the operands; those of keys and parameters are of p parts of the queries."""

    query: Any  # (g, n, 2d)
    query_times: Any  # (g, n)
    query_noise: Any  # (g, n, s)
    query_level: Any  # (g, n, directions, s)
    missing: Any  # (g, n, s) or (g, 0, s)
    key: Any  # (p, g, m, 2d)
    value: Any  # (p, g, m, 2d_v)
    key_times: Any  # (p, g, m)
    key_level: Any  # (p, g, m, directions, s)
    parameters: Any  # (p, g, 5, s)


@inlined
def query_lags(
    arrays: Any, head: Head, extent: Extent, i: int, sums: RowSums, rows: Any,
    found: Gradients, part: int, count: int,
) -> None:  # fmt: skip
    """Add the gradients through the lag of a query from the reference time, and sum columns."""
    h, number = extent.head, rows.dtype.type
    parameters = found.parameters[part, h, :, 0]
    lag = abs(arrays.query_times[h, i] - extent.time)
    e = number(np.exp(-head.decay * lag))
    square, moved = e * e, e * e * number(lag)
    for j in range(count):
        rows[SUM_SIGMA, j] += square * rows[GRAD_SIGMA, j]
        rows[SUM_LAG_SIGMA, j] += moved * rows[GRAD_SIGMA, j]
    for j in range(count):
        rows[SUM_LOG_DECAY, j] += rows[GRAD_LOG_DECAY, j]
    parameters[PROCESS] += sums.sigma * unit_variance(head.decay, lag)
    slope = head.process * unit_variance_slope(head.decay, lag)
    parameters[DECAY] += sums.sigma * slope - sums.log_decay * lag
    by_lag = head.process * sums.square - head.decay * sums.log_decay
    found.query_times[h, i] += by_lag if extent.order == EARLIER else -by_lag


@compiled
def key_lags(
    arrays: Any, head: Head, extent: Extent, rows: Any, found: Gradients, part: int
) -> None:
    """Add the gradients through the lags of the keys of a tile to the reference time."""
    h, (j0, j1) = extent.head, extent.columns
    parameters = found.parameters[part, h, :, 0]
    for j in range(j1 - j0):
        lag = abs(extent.time - arrays.key_times[h, j0 + j])
        square, variance = np.exp(-2.0 * head.decay * lag), unit_variance(head.decay, lag)
        slope = unit_variance_slope(head.decay, lag)
        parameters[PROCESS] += rows[SUM_SIGMA, j] * variance
        by_variance = rows[SUM_SIGMA, j] * slope - 2.0 * rows[SUM_LAG_SIGMA, j] * variance
        parameters[DECAY] += head.process * by_variance - rows[SUM_LOG_DECAY, j] * lag
        by_lag = head.process * square * rows[SUM_SIGMA, j] - head.decay * rows[SUM_LOG_DECAY, j]
        found.key_times[part, h, j0 + j] += -by_lag if extent.order == EARLIER else by_lag


@inlined
def pair_lags(
    arrays: Any, flags: Any, head: Head, extent: Extent, i: int, rows: Any, found: Gradients,
    part: int, count: int,
) -> None:  # fmt: skip
    """Add the gradients through the lags of a row of pairs without a reference time."""
    h, (j0, _), number = extent.head, extent.columns, rows.dtype.type
    parameters = found.parameters[part, h, :, 0]
    if flags.regular:
        start = BLOCK - 1 - (i + arrays.key.shape[1] - arrays.query.shape[1] - j0)
        for j in range(count):
            rows[LAG, j] = rows[TABLE_LAG, start + j]
            rows[VARIANCE, j] = rows[TABLE_VARIANCE, start + j]
            rows[SPARE, j] = rows[TABLE_SLOPE, start + j]
    else:
        slope_row(head.decay, rows, count)
    by_process, by_decay, process = number(0), number(0), number(head.process)
    for j in range(count):
        by_process += rows[GRAD_SIGMA, j] * rows[VARIANCE, j]
        # the two terms cancel pair by pair
        by_variance = process * rows[GRAD_SIGMA, j] * rows[SPARE, j]
        by_decay += by_variance - rows[GRAD_LOG_DECAY, j] * rows[LAG, j]
    parameters[PROCESS] += by_process
    parameters[DECAY] += by_decay
    if flags.regular:  # times were not given and have no gradient
        return
    decay, total = number(head.decay), 0.0
    for j in range(count):
        gap = arrays.query_times[h, i] - arrays.key_times[h, j0 + j]
        square = rows[DECAYED, j] * rows[DECAYED, j]
        by_lag = process * square * rows[GRAD_SIGMA, j] - decay * rows[GRAD_LOG_DECAY, j]
        signed = np.sign(gap) * by_lag
        total += signed
        found.key_times[part, h, j0 + j] -= signed
    found.query_times[h, i] += total


@inlined
def query_levels(
    arrays: Any, flags: Any, extent: Extent, i: int, sums: RowSums, rows: Any,
    found: Gradients, part: int, count: int,
) -> None:  # fmt: skip
    """Add the gradients in the levels of influence of a query and of the keys it attends to."""
    h, (j0, _) = extent.head, extent.columns
    if extent.order or flags.directions == 1:
        side = 1 if extent.order == LATER else 0
        found.query_level[h, i, side, 0] += sums.log_weight
        for j in range(count):
            found.key_level[part, h, j0 + j, side, 0] -= rows[GRAD_LOG_WEIGHT, j]
        return
    for j in range(count):
        side = 1 if arrays.key_times[h, j0 + j] > arrays.query_times[h, i] else 0
        found.query_level[h, i, side, 0] += rows[GRAD_LOG_WEIGHT, j]
        found.key_level[part, h, j0 + j, side, 0] -= rows[GRAD_LOG_WEIGHT, j]
