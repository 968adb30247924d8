"""Gradients of the diagonal form through lags and through the levels of correlated keys.

In a tile with a reference time Σ = a + e²g, E = e f, so that a sum over keys or queries of the
gradients in Σ, Σg or Σe², and log E tells those in the lag of every token. On a regular grid with a
table they are summed over the pairs with a lag.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from afa_numpy.fused.compiled import compiled, inlined
from afa_numpy.fused.diagonal_rows import (
    GRAD_LAG,
    KEY_SIGMA,
    LAG_LOG_DECAY,
    LAG_SIGMA,
    QUERY_DECAYED,
    ROW_KEY_SIGMA,
    ROW_LATER,
    ROW_LOG_DECAY,
    ROW_PAST,
    ROW_SIGMA,
    SUM_LATER,
    SUM_LOG_DECAY,
    SUM_PAST,
    SUM_SIGMA,
    Work,
)
from afa_numpy.fused.factors import KEYS, QUERIES, carry, sides_of
from afa_numpy.fused.lag_gradients import (
    Gradients,
    side_lags,
    through_lags,
    through_measurement,
)
from afa_numpy.fused.rows import DECAYED as ROW_DECAYED
from afa_numpy.fused.rows import (
    GRAD_LOG_DECAY,
    GRAD_LOG_WEIGHT,
    GRAD_SIGMA,
    SPARE,
)
from afa_numpy.fused.tiles import LATER, Extent


@inlined
def add_row_lags(
    arrays: Any, flags: Any, tabled: bool, extent: Extent, k: int, i: int, slot: int, start: int,
    work: Work, found: Gradients, part: int, count: int,
) -> None:  # fmt: skip
    """Add the gradients in Σ and log E of a row of pairs to sums over tokens or lags."""
    rows, modes, pairs, _ = work
    if tabled:
        sigma, log_decay = pairs[k, LAG_SIGMA, start:], pairs[k, LAG_LOG_DECAY, start:]
        for j in range(count):
            sigma[j] += rows[GRAD_SIGMA, j]
            log_decay[j] += rows[GRAD_LOG_DECAY, j]
        return
    if not extent.order:
        _add_pair_lags(arrays, flags, extent, k, i, slot, work, found, part, count)
        return
    row, by_square, by_log = i - extent.rows[0], rows.dtype.type(0), rows.dtype.type(0)
    square = modes[k, QUERY_DECAYED, row] * modes[k, QUERY_DECAYED, row]
    for j in range(count):
        modes[k, SUM_SIGMA, j] += square * rows[GRAD_SIGMA, j]
        modes[k, SUM_LOG_DECAY, j] += rows[GRAD_LOG_DECAY, j]
        by_square += modes[k, KEY_SIGMA, j] * rows[GRAD_SIGMA, j]
        by_log += rows[GRAD_LOG_DECAY, j]
    modes[k, ROW_KEY_SIGMA, row] += by_square
    modes[k, ROW_LOG_DECAY, row] += by_log


@inlined
def _add_pair_lags(
    arrays: Any, flags: Any, extent: Extent, k: int, i: int, slot: int, work: Work,
    found: Gradients, part: int, count: int,
) -> None:  # fmt: skip
    """Add the gradients through the lags of a row of pairs, which are those of `rows`."""
    h, rows, shared, number = extent.head, work.rows, work.shared, work.rows.dtype.type
    through_measurement(h, k, number(arrays.measurement[h, k]), rows, found, part, count)
    process = number(arrays.process[h, k])
    through_lags(h, k, arrays.decay[h, k], process, rows, found, part, count)
    if flags.regular:  # times were not given and have no gradient
        return
    for j in range(count):
        shared[slot, GRAD_LAG, j] += rows[SPARE, j]
    if k < work.modes.shape[0] - 1:
        return
    j0, total = extent.columns[0], 0.0
    times, grads = arrays.key_times[h, j0:], found.key_times[part, h, j0:]
    for j in range(count):
        signed = np.sign(arrays.query_times[h, i] - times[j]) * shared[slot, GRAD_LAG, j]
        total += signed
        grads[j] -= signed
    found.query_times[h, i] += total


@compiled
def add_lag_grads(
    arrays: Any, flags: Any, tabled: bool, extent: Extent, work: Work, found: Gradients, part: int
) -> None:
    """Add the gradients through the lags and the levels of a tile from their sums."""
    h, (i0, i1), modes = extent.head, extent.rows, work.modes
    for k in range(modes.shape[0]):
        for i in range(i1 - i0):
            found.query_noise[h, i0 + i, k] += modes[k, ROW_SIGMA, i]
        for side in range(*sides_of(tabled, extent)):
            _side_lags(arrays, extent, side, k, work, found, part)
        for side in range(flags.directions):
            _levels(extent, side, k, modes, found, part)


@inlined
def _side_lags(
    arrays: Any, extent: Extent, side: int, k: int, work: Work, found: Gradients, part: int
) -> None:
    """Add the gradients through the lags of queries, keys or a table from their sums."""
    h, rows = extent.head, work.rows
    count = carry(arrays, extent, side, arrays.decay[h, k], rows)
    _read_sums(side, k, work, count)
    side_lags(arrays, extent, side, k, arrays.decay[h, k], rows, found, part, count)


@inlined
def _read_sums(side: int, k: int, work: Work, count: int) -> None:
    """Write the gradients in Σ and log E summed over what shares a lag; clear those of a table."""
    rows, modes, pairs, _ = work
    if side == QUERIES:
        for i in range(count):
            square = rows[ROW_DECAYED, i] * rows[ROW_DECAYED, i]
            rows[GRAD_SIGMA, i] = modes[k, ROW_SIGMA, i]
            by_square = square * modes[k, ROW_KEY_SIGMA, i]
            rows[GRAD_LOG_DECAY, i] = modes[k, ROW_LOG_DECAY, i] + by_square + by_square
    elif side == KEYS:
        for j in range(count):
            rows[GRAD_SIGMA, j] = modes[k, SUM_SIGMA, j]
            rows[GRAD_LOG_DECAY, j] = modes[k, SUM_LOG_DECAY, j]
    else:
        for t in range(count):
            rows[GRAD_SIGMA, t] = pairs[k, LAG_SIGMA, t]
            rows[GRAD_LOG_DECAY, t] = pairs[k, LAG_LOG_DECAY, t]
            pairs[k, LAG_SIGMA, t] = rows.dtype.type(0)
            pairs[k, LAG_LOG_DECAY, t] = rows.dtype.type(0)


@inlined
def add_level_grads(
    arrays: Any, flags: Any, extent: Extent, k: int, i: int, work: Work, count: int
) -> None:
    """Add the gradients in log a of a row of pairs to sums over queries and over keys."""
    rows, modes, row = work.rows, work.modes, i - extent.rows[0]
    later, zero = rows.dtype.type(0), rows.dtype.type(0)
    past = zero
    pairwise = flags.directions > 1 and not extent.order
    if pairwise:
        time = arrays.query_times[extent.head, i]
        times = arrays.key_times[extent.head, extent.columns[0] :]
        for j in range(count):
            x = rows[GRAD_LOG_WEIGHT, j] if times[j] > time else zero
            modes[k, SUM_LATER, j] += x
            modes[k, SUM_PAST, j] += rows[GRAD_LOG_WEIGHT, j] - x
            later += x
            past += rows[GRAD_LOG_WEIGHT, j] - x
        modes[k, ROW_LATER, row] += later
        modes[k, ROW_PAST, row] += past
        return
    side = 1 if extent.order == LATER else 0
    for j in range(count):
        modes[k, SUM_PAST + side, j] += rows[GRAD_LOG_WEIGHT, j]
        past += rows[GRAD_LOG_WEIGHT, j]
    modes[k, ROW_PAST + side, row] += past


@inlined
def _levels(extent: Extent, side: int, k: int, modes: Any, found: Gradients, part: int) -> None:
    h, (i0, i1), (j0, j1) = extent.head, extent.rows, extent.columns
    for i in range(i1 - i0):
        found.query_level[h, i0 + i, side, k] += modes[k, ROW_PAST + side, i]
    grads = found.key_level[part, h, j0:j1, side, k]
    for j in range(j1 - j0):
        grads[j] -= modes[k, SUM_PAST + side, j]
