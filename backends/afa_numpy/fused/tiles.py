"""The tiles of a block of queries: which keys they hold, and E, Σ and influence of their pairs.

Where all keys of a tile come before all its queries, or after, E and Σ are factors of either side
by way of the reference time t_c, the time of the key nearest to the queries:

    E = e f,   Σ = a + e² g,   e = E(t_i − t_c),   a = γ² + V(t_i − t_c),
                               f = E(t_c − t_j),   g = V(t_c − t_j) + f²η².

Otherwise they are evaluated pair by pair, on a regular grid from a table.
"""

from __future__ import annotations

from typing import Any, NamedTuple

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
    SIGMA,
    SPARE,
    TABLE_DECAYED,
    TABLE_SIGMA,
    VARIANCE,
)

EARLIER, BESIDE, LATER = 1, 0, -1
"""Where the keys of a tile are in time; beside means anywhere."""
QUERIES, KEYS, TABLE = range(3)
"""Whose lags the factors of pairs depend on."""
LANES = 32
"""Queries in a strip of a tile that is hidden in part, and keys that are evaluated together."""


class Head(NamedTuple):
    """The model of a head."""

    decay: float
    process: float
    measurement: float
    scale: float
    dof: float
    inverse_temperature: float
    power: int  # −1 where weights take a logarithm


class Extent(NamedTuple):
    """The place of a tile."""

    head: int
    rows: tuple[int, int]
    columns: tuple[int, int]
    order: int
    time: float  # t_c, of a tile with a reference time


class Strip(NamedTuple):
    """Queries of a tile, and how many of its keys any of them sees."""

    first: int
    last: int
    keys: int


@compiled
def head_of(arrays: Any, flags: Any, powers: Any, h: int) -> Head:
    """Return the model of head h."""
    return Head(
        arrays.decay[h, 0], arrays.process[h, 0], arrays.measurement[h, 0], arrays.scale[h],
        arrays.dof[h], arrays.inverse_temperature[h], flags.power if powers[h] else -1,
    )  # fmt: skip


@inlined
def bounds(times: Any) -> tuple[float, float]:
    """Return the least and the greatest."""
    low, high = np.inf, -np.inf
    for i in range(times.shape[0]):
        time = float(times[i])
        low, high = min(low, time), max(high, time)
    return low, high


@inlined
def order_of(arrays: Any, flags: Any, h: int, i0: int, i1: int, j0: int, j1: int, side: int) -> int:
    """Return where the keys of a tile are in time.

    Where some share a time with a query they are beside it: |Δ| is not differentiable there. Where
    only past keys have levels of influence, later ones, which are hidden, are beside it as well.
    """
    if flags.regular or side == BESIDE:
        return side
    first, last = bounds(arrays.query_times[h, i0:i1])
    least, greatest = bounds(arrays.key_times[h, j0:j1])
    if greatest < first:
        return EARLIER
    return LATER if least > last and flags.directions != 1 else BESIDE


@compiled
def all_keys(arrays: Any, i0: int, i1: int, left: Any) -> None:
    """Write which keys no tile has had: first those beside the queries, then both sides.

    The range beside, empty once it is taken; how many are before; the first that is after.
    """
    queries, keys = arrays.query.shape[1], arrays.key.shape[1]
    first = min(max(i0 + keys - queries, 0), keys)  # the places of the queries among the keys
    last = min(max(i1 + keys - queries, 0), keys)
    left[0], left[1], left[2], left[3] = first, last, first, last


@compiled
def next_tile(
    arrays: Any, flags: Any, far: Any, h: int, i0: int, i1: int, log_total: Any, left: Any
) -> tuple[int, int, int]:
    """Return the first key, the last and the order of the nearest tile; no key if none is left.

    A side is left once the weight of its other keys, `far`, is negligible in every row and
    component beside `log_total`, (n, s), the logarithm of the weight so far.
    """
    keys, exits = arrays.key.shape[1], flags.tolerance > 0.0
    if left[0] < left[1]:
        start, stop = left[0], left[1]
        left[0] = stop
        return start, stop, BESIDE
    if left[2] > 0:
        stop = left[2]
        if not (exits and negligible(arrays, flags, far, h, i0, i1, log_total, stop - 1, 0)):
            start = max(stop - flags.size, 0)
            left[2] = start
            return start, stop, order_of(arrays, flags, h, i0, i1, start, stop, EARLIER)
        left[2] = 0
    if left[3] < keys and not flags.causal:
        start = left[3]
        if not (exits and negligible(arrays, flags, far, h, i0, i1, log_total, start, 1)):
            stop = min(start + flags.size, keys)
            left[3] = stop
            return start, stop, order_of(arrays, flags, h, i0, i1, start, stop, LATER)
    return keys, keys, BESIDE


@inlined
def negligible(
    arrays: Any, flags: Any, far: Any, h: int, i0: int, i1: int, log_total: Any, key: int, side: int
) -> bool:
    """Whether the keys from one on outwards have at most a share τ of the weight of every row."""
    bound = np.log(flags.tolerance / flags.directions)
    for i in range(i0, i1):
        for s in range(log_total.shape[1]):
            level = arrays.query_level[h, i, side, s]
            if not (level + far[h, key, side, s] <= log_total[i - i0, s] + bound):
                return False
    return True


@compiled
def squares(x: Any, scale: Any, found: Any) -> None:
    """Write c‖x‖² of tokens (n, 2d)."""
    for i in range(x.shape[0]):
        square = x.dtype.type(0)
        for d in range(x.shape[1]):
            square += x[i, d] * x[i, d]
        found[i] = scale * square


@inlined
def extent_of(arrays: Any, at: Any) -> Any:
    """Return the place of a tile."""
    h, i0, i1, j0, j1, order = at
    time = 0.0
    if order:
        low, high = bounds(arrays.key_times[h, j0:j1])
        time = high if order == EARLIER else low
    return Extent(h, (i0, i1), (j0, j1), order, time)


@inlined
def sides_of(tabled: bool, extent: Extent) -> tuple[int, int]:
    """Return the first and the last side whose lags a tile has, exclusive; none pair by pair."""
    if tabled:
        return TABLE, TABLE + 1
    return QUERIES, KEYS + 1 if extent.order else QUERIES


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
def has_table(flags: Any, extent: Extent) -> bool:
    """Whether E and Σ of the pairs of a tile are read from a table."""
    return flags.regular and not extent.order


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


@inlined
def count_of(arrays: Any, flags: Any, extent: Extent, i: int) -> Any:
    """Return how many keys of a tile query i sees."""
    j0, j1 = extent.columns
    place = i + arrays.key.shape[1] - arrays.query.shape[1] - j0  # of the query among the keys
    if flags.causal and not extent.order:
        return min(max(place + 1, 0), j1 - j0)
    return j1 - j0


@inlined
def strip_of(arrays: Any, flags: Any, extent: Extent, first: int) -> Any:
    """Return the strip of a tile that begins with a query."""
    last = extent.rows[1]
    if flags.causal and not extent.order:
        last = min(first + LANES, last)
    return Strip(first, last, count_of(arrays, flags, extent, last - 1))


@inlined
def fill_row(
    arrays: Any, flags: Any, head: Head, extent: Extent, i: int, keys: int, rows: Any
) -> Any:
    """Write E, Σ and influence of the pairs of query i.

    Return how many keys it sees, and for how many they are written: some more, up to a number.
    """
    seen = count_of(arrays, flags, extent, i)
    count = min(-(-seen // LANES) * LANES, keys)
    if extent.order:
        _factored_row(arrays, flags, head, extent, i, rows, count)
    else:
        _pairwise_row(arrays, flags, head, extent, i, rows, count)
    return seen, count


@inlined
def _factored_row(
    arrays: Any, flags: Any, head: Head, extent: Extent, i: int, rows: Any, count: int
) -> None:
    row = i - extent.rows[0]
    e, a = rows[QUERY_DECAYED, row], rows[QUERY_SIGMA, row]
    square = e * e
    for j in range(count):
        rows[DECAYED, j] = e * rows[KEY_DECAYED, j]
        rows[SIGMA, j] = a + square * rows[KEY_SIGMA, j]
    if not flags.directions:
        return
    own = rows[QUERY_INFLUENCE, row]
    if head.power < 0:
        for j in range(count):
            rows[INFLUENCE, j] = own + rows[KEY_INFLUENCE, j]
    else:
        for j in range(count):
            rows[INFLUENCE, j] = own * rows[KEY_INFLUENCE, j]


@inlined
def _pairwise_row(
    arrays: Any, flags: Any, head: Head, extent: Extent, i: int, rows: Any, count: int
) -> None:
    number, h, (j0, j1) = rows.dtype.type, extent.head, extent.columns
    noise, process = arrays.query_noise[h, i, 0], number(head.process)
    measurement, start = number(head.measurement), extent.rows[1] - 1 - i
    if flags.regular:
        decayed, sigma = rows[TABLE_DECAYED, start:], rows[TABLE_SIGMA, start:]
        for j in range(count):
            rows[DECAYED, j] = decayed[j]
            rows[SIGMA, j] = noise + sigma[j]
    else:
        lag_row(arrays.query_times[h, i], arrays.key_times[h, j0:j1], head.decay, rows, count)
        for j in range(count):
            square = rows[DECAYED, j] * rows[DECAYED, j]
            rows[SIGMA, j] = noise + process * rows[VARIANCE, j] + measurement * square
    if flags.directions:
        level_row(arrays, flags, extent, i, 0, head.power < 0, rows, count)
