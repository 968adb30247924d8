"""Gradients through the lags of pairs, and through the levels of correlated keys.

With gradients by Σ and log E of every pair, those in parameters and times follow. Where Σ = a + e²g
and E = e f are made of factors, or read from a table, sums over the pairs of a factor suffice.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from afa_numpy.fused.compiled import compiled, inlined
from afa_numpy.fused.factors import KEYS, QUERIES, carry, has_table, sides_of
from afa_numpy.fused.gradients import RowSums
from afa_numpy.fused.lags import slope_row
from afa_numpy.fused.rows import (
    DECAYED,
    GRAD_LOG_DECAY,
    GRAD_LOG_WEIGHT,
    GRAD_SIGMA,
    KEY_SIGMA,
    LAG,
    QUERY_DECAYED,
    ROW_LOG_DECAY,
    ROW_SIGMA,
    SPARE,
    SUM_LOG_DECAY,
    SUM_SIGMA,
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


@compiled
def through_measurement(
    h: int, k: int, measurement: Any, rows: Any, found: Gradients, part: int, count: int
) -> None:
    """Add the gradient in η² from that in Σ, and to that in log E the one through E²η²."""
    total, twice = measurement - measurement, measurement + measurement
    for j in range(count):
        measured = rows[DECAYED, j] * rows[DECAYED, j] * rows[GRAD_SIGMA, j]
        total += measured
        rows[GRAD_LOG_DECAY, j] += twice * measured
    found.parameters[part, h, MEASUREMENT, k] += total


@compiled
def through_lags(
    h: int, k: int, rate: float, process: Any, rows: Any, found: Gradients, part: int, count: int
) -> None:
    """Add the gradients in σ² and μ from those in V + γ² and log E of lags; write those in |Δ|."""
    decay, by_process = rows.dtype.type(rate), process - process
    by_decay = by_process
    slope_row(rate, rows, count)
    for j in range(count):
        sigma, log_decay = rows[GRAD_SIGMA, j], rows[GRAD_LOG_DECAY, j]
        by_process += sigma * rows[VARIANCE, j]
        # the two terms cancel pair by pair
        by_decay += process * sigma * rows[SPARE, j] - log_decay * rows[LAG, j]
        square = rows[DECAYED, j] * rows[DECAYED, j]
        rows[SPARE, j] = process * square * sigma - decay * log_decay
    found.parameters[part, h, PROCESS, k] += by_process
    found.parameters[part, h, DECAY, k] += by_decay


@compiled
def side_lags(
    arrays: Any, extent: Extent, side: int, k: int, rate: float, rows: Any, found: Gradients,
    part: int, count: int,
) -> None:  # fmt: skip
    """Add the gradients through the lags of queries, keys or a table from those in Σ and log E."""
    h, i0, j0, number = extent.head, extent.rows[0], extent.columns[0], rows.dtype.type
    if side != QUERIES:  # whose Σ has η² by way of the keys
        through_measurement(h, k, number(arrays.measurement[h, k]), rows, found, part, count)
    through_lags(h, k, rate, number(arrays.process[h, k]), rows, found, part, count)
    sign = number(1 if extent.order == EARLIER else -1)
    if side == QUERIES:
        by_time = found.query_times[h, i0:]
        for i in range(count):
            by_time[i] += sign * rows[SPARE, i]
    elif side == KEYS:
        by_time = found.key_times[part, h, j0:]
        for j in range(count):
            by_time[j] -= sign * rows[SPARE, j]


@compiled
def tile_lags(
    arrays: Any, flags: Any, head: Head, extent: Extent, rows: Any, found: Gradients, part: int
) -> None:
    """Add the gradients through the lags of a tile from their sums."""
    for side in range(*sides_of(has_table(flags, extent), extent)):
        count = carry(arrays, extent, side, head.decay, rows)
        if side == QUERIES:
            for i in range(count):
                rows[GRAD_SIGMA, i] = rows[ROW_SIGMA, i]
                rows[GRAD_LOG_DECAY, i] = rows[ROW_LOG_DECAY, i]
        else:
            for j in range(count):
                rows[GRAD_SIGMA, j] = rows[SUM_SIGMA, j]
                rows[GRAD_LOG_DECAY, j] = rows[SUM_LOG_DECAY, j]
        side_lags(arrays, extent, side, 0, head.decay, rows, found, part, count)


@inlined
def add_row(
    arrays: Any, flags: Any, head: Head, extent: Extent, i: int, sums: RowSums, rows: Any,
    found: Gradients, part: int, count: int,
) -> None:  # fmt: skip
    """Add the gradients of a query in the Σ, E and influence of its pairs."""
    found.query_noise[extent.head, i, 0] += sums.sigma
    if extent.order:
        _factored_sums(extent, i, sums, rows, count)
    elif flags.regular:
        start = extent.rows[1] - 1 - i
        sigma, log_decay = rows[SUM_SIGMA, start:], rows[SUM_LOG_DECAY, start:]
        for j in range(count):
            sigma[j] += rows[GRAD_SIGMA, j]
            log_decay[j] += rows[GRAD_LOG_DECAY, j]
    else:
        _pair_lags(arrays, head, extent, i, rows, found, part, count)
    if flags.directions:
        query_levels(arrays, flags, extent, i, sums, rows, found, part, count)


@inlined
def _factored_sums(extent: Extent, i: int, sums: RowSums, rows: Any, count: int) -> None:
    """Add the gradients of a row to the sums over queries, and write those over keys."""
    row, by_square = i - extent.rows[0], rows.dtype.type(0)
    square = rows[QUERY_DECAYED, row] * rows[QUERY_DECAYED, row]
    for j in range(count):
        sigma = square * rows[GRAD_SIGMA, j]
        rows[SUM_SIGMA, j] += sigma
        by_square += sigma * rows[KEY_SIGMA, j]
    for j in range(count):
        rows[SUM_LOG_DECAY, j] += rows[GRAD_LOG_DECAY, j]
    rows[ROW_SIGMA, row] = sums.sigma
    rows[ROW_LOG_DECAY, row] = sums.log_decay + by_square + by_square  # Σ = a + e²g


@inlined
def _pair_lags(
    arrays: Any, head: Head, extent: Extent, i: int, rows: Any, found: Gradients, part: int,
    count: int,
) -> None:  # fmt: skip
    """Add the gradients through the lags of a row of pairs without a reference time or table."""
    h, j0, number = extent.head, extent.columns[0], rows.dtype.type
    through_measurement(h, 0, number(head.measurement), rows, found, part, count)
    through_lags(h, 0, head.decay, number(head.process), rows, found, part, count)
    times, grads, total = arrays.key_times[h, j0:], found.key_times[part, h, j0:], 0.0
    for j in range(count):
        signed = np.sign(arrays.query_times[h, i] - times[j]) * rows[SPARE, j]
        total += signed
        grads[j] -= signed
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
        grads = found.key_level[part, h, j0:, side, 0]
        for j in range(count):
            grads[j] -= rows[GRAD_LOG_WEIGHT, j]
        return
    time, times, later = arrays.query_times[h, i], arrays.key_times[h, j0:], rows.dtype.type(0)
    by_level = found.key_level[part, h, j0:, :, 0]
    for j in range(count):
        own = rows[GRAD_LOG_WEIGHT, j]
        after = own if times[j] > time else own - own
        later += after
        by_level[j, 0] -= own - after
        by_level[j, 1] -= after
    found.query_level[h, i, 0, 0] += sums.log_weight - later
    found.query_level[h, i, 1, 0] += later
