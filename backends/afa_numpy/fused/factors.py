"""What E, Σ and influence of the pairs of a tile are made of: factors, or a table (spec §9).

Where all keys of a tile come before all its queries, or after, E and Σ are factors of either side
by way of the reference time t_c, the time of the key nearest to the queries:

    E = e f,   Σ = a + e² g,   e = E(t_i − t_c),   a = γ² + V(t_i − t_c),
                               f = E(t_c − t_j),   g = V(t_c − t_j) + f²η².

Otherwise they are evaluated pair by pair, on a regular grid from a table.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from afa_numpy.fused.compiled import compiled, exp_row, inlined
from afa_numpy.fused.lags import decay_row, lag_row
from afa_numpy.fused.rows import (
    BITS,
    DECAYED,
    DISTANCE,
    INFLUENCE,
    KEY2,
    KEY_DECAYED,
    KEY_INFLUENCE,
    KEY_SIGMA,
    LAG,
    QUERY_DECAYED,
    QUERY_INFLUENCE,
    QUERY_SIGMA,
    SPARE,
    TABLE_DECAYED,
    TABLE_SIGMA,
    VARIANCE,
)
from afa_numpy.fused.tiles import LATER, Extent, Head, bounds, extent_of, squares

QUERIES, KEYS, TABLE = range(3)
"""Whose lags the factors of pairs depend on."""


@inlined
def sides_of(tabled: bool, extent: Extent) -> tuple[int, int]:
    """Return the first and the last side whose lags a tile has, exclusive; none pair by pair."""
    if tabled:
        return TABLE, TABLE + 1
    return QUERIES, KEYS + 1 if extent.order else QUERIES


@inlined
def has_table(flags: Any, extent: Extent) -> bool:
    """Whether E and Σ of the pairs of a tile are read from a table."""
    return flags.regular and not extent.order


@compiled
def carry(arrays: Any, extent: Extent, side: int, rate: float, rows: Any) -> int:
    """Write the lags to the reference time of queries or keys, or all of a table, with E and V.

    Return their number.
    """
    h, (i0, i1), (j0, j1) = extent.head, extent.rows, extent.columns
    if side == TABLE:  # t is at the lag of query i and key j where t = i1 − 1 − i + j − j0
        last = i1 - 1 + arrays.key.shape[1] - arrays.query.shape[1] - j0
        for t in range(i1 - i0 + j1 - j0 - 1):
            rows[LAG, t] = abs(last - t)
        decay_row(rate, rows, i1 - i0 + j1 - j0 - 1)
        return i1 - i0 + j1 - j0 - 1
    times = arrays.query_times[h, i0:i1] if side == QUERIES else arrays.key_times[h, j0:j1]
    lag_row(extent.time, times, rate, rows, times.shape[0])
    return int(times.shape[0])


@compiled
def carry_influence(
    arrays: Any, extent: Extent, side: int, k: int, logarithms: bool, rows: Any
) -> int:
    """Write the factors of influence of queries or keys, or their logarithms; return their number.

    Those of keys are relative to the key of most influence.
    """
    h, (i0, i1), (j0, j1) = extent.head, extent.rows, extent.columns
    way, count = 1 if extent.order == LATER else 0, j1 - j0
    levels = arrays.key_level[h, j0:j1, way, k]
    level, _ = bounds(levels)
    level = level if level < np.inf else 0.0  # no key has influence
    if side == KEYS:
        for j in range(count):
            rows[SPARE, j] = level - levels[j]
    else:
        levels, count = arrays.query_level[h, i0:i1, way, k], i1 - i0
        for i in range(count):
            # at most zero, but where all keys of the tile are hidden and have any time
            rows[SPARE, i] = min(levels[i] - level, 1.0)
    influence_row(logarithms, rows, count)
    return count


@compiled
def influence_row(logarithms: bool, rows: Any, count: int) -> None:
    """Write the row of influence, or its logarithm, from logarithms in the spare row."""
    if logarithms:
        for j in range(count):
            rows[INFLUENCE, j] = rows[SPARE, j]
    else:
        exp_row(rows[SPARE], rows[INFLUENCE], rows[DISTANCE], rows[BITS].view(np.int32), count)


@inlined
def level_row(
    arrays: Any, flags: Any, extent: Extent, i: int, k: int, logarithms: bool, rows: Any,
    count: int,
) -> None:  # fmt: skip
    """Write the influence, or its logarithm, of the pairs of query i one by one."""
    h, j0, own = extent.head, extent.columns[0], arrays.query_level[extent.head, i, :, k]
    levels = arrays.key_level[h, j0:, :, k]
    for j in range(count):
        rows[SPARE, j] = min(own[0] - levels[j, 0], 1.0)
    if flags.directions > 1:
        time, times = arrays.query_times[h, i], arrays.key_times[h, j0:]
        for j in range(count):
            later = min(own[1] - levels[j, 1], 1.0)
            rows[SPARE, j] = later if times[j] > time else rows[SPARE, j]
    influence_row(logarithms, rows, count)


@compiled
def carry_tile(arrays: Any, flags: Any, head: Head, at: Any, rows: Any) -> Any:
    """Write the factors or the table of the pairs of a tile; return its place."""
    extent = extent_of(arrays, at)
    h, (j0, j1) = extent.head, extent.columns
    squares(arrays.key[h, j0:j1], rows.dtype.type(head.scale), rows[KEY2])
    for side in range(*sides_of(has_table(flags, extent), extent)):
        _write_factors(arrays, head, extent, side, rows)
    if flags.directions and extent.order:
        logarithms = head.power < 0
        for i in range(carry_influence(arrays, extent, QUERIES, 0, logarithms, rows)):
            rows[QUERY_INFLUENCE, i] = rows[INFLUENCE, i]
        for j in range(carry_influence(arrays, extent, KEYS, 0, logarithms, rows)):
            rows[KEY_INFLUENCE, j] = rows[INFLUENCE, j]
    return extent


@inlined
def _write_factors(arrays: Any, head: Head, extent: Extent, side: int, rows: Any) -> None:
    """Write E and Σ of a table, or the factors of queries or keys."""
    h, i0, number = extent.head, extent.rows[0], rows.dtype.type
    process, measurement = number(head.process), number(head.measurement)
    count = carry(arrays, extent, side, head.decay, rows)
    if side == QUERIES:
        noise = arrays.query_noise[h, i0:, 0]
        for i in range(count):
            rows[QUERY_DECAYED, i] = rows[DECAYED, i]
            rows[QUERY_SIGMA, i] = noise[i] + process * rows[VARIANCE, i]
        return
    decayed, sigma = (KEY_DECAYED, KEY_SIGMA) if side == KEYS else (TABLE_DECAYED, TABLE_SIGMA)
    for j in range(count):
        square = rows[DECAYED, j] * rows[DECAYED, j]
        rows[decayed, j] = rows[DECAYED, j]
        rows[sigma, j] = process * rows[VARIANCE, j] + square * measurement
