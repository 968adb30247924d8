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

from afa_numpy.fused.compiled import BLOCK, compiled, inlined
from afa_numpy.fused.lags import covariance_tables, lag_row, unit_variance
from afa_numpy.fused.rows import (
    DECAYED,
    INFLUENCE,
    KEY2,
    KEY_DECAYED,
    KEY_INFLUENCE,
    KEY_SIGMA,
    SIGMA,
    TABLE_DECAYED,
    TABLE_SIGMA,
    VARIANCE,
)

EARLIER, BESIDE, LATER = 1, 0, -1
"""Where the keys of a tile are in time; beside means anywhere."""


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
    level: float  # of influence there


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


@compiled
def carry_keys(arrays: Any, flags: Any, head: Head, extent_at: Any, rows: Any) -> Extent:
    """Write the factors of the keys of a tile; return its place with the reference time."""
    h, i0, i1, j0, j1, order = extent_at
    keys, times = arrays.key[h, j0:j1], arrays.key_times[h]
    squares(keys, rows.dtype.type(head.scale), rows[KEY2])
    time, level, side = 0.0, 0.0, 1 if order == LATER else 0
    if order == BESIDE:
        if flags.regular:
            covariance_tables(head.decay, head.process, head.measurement, rows)
        return Extent(h, (i0, i1), (j0, j1), order, time, level)
    low, high = bounds(times[j0:j1])
    time = high if order == EARLIER else low
    for j in range(j1 - j0):
        lag = abs(time - times[j0 + j])
        f = np.exp(-head.decay * lag)
        rows[KEY_DECAYED, j] = f
        rows[KEY_SIGMA, j] = (
            head.process * unit_variance(head.decay, lag) + f * f * head.measurement
        )
    if flags.directions:
        level = np.inf
        for j in range(j0, j1):
            level = min(level, arrays.key_level[h, j, side, 0])
        level = level if level < np.inf else 0.0  # no key has influence
        for j in range(j1 - j0):
            log_influence = level - arrays.key_level[h, j0 + j, side, 0]
            rows[KEY_INFLUENCE, j] = log_influence if head.power < 0 else np.exp(log_influence)
    return Extent(h, (i0, i1), (j0, j1), order, time, level)


@inlined
def fill_row(arrays: Any, flags: Any, head: Head, extent: Extent, i: int, rows: Any) -> Any:
    """Write E, Σ and influence of the pairs of query i; return how many keys it sees here."""
    if extent.order:
        return _factored_row(arrays, flags, head, extent, i, rows)
    return _pairwise_row(arrays, flags, head, extent, i, rows)


@inlined
def _factored_row(arrays: Any, flags: Any, head: Head, extent: Extent, i: int, rows: Any) -> int:
    number, h, count = rows.dtype.type, extent.head, extent.columns[1] - extent.columns[0]
    lag = abs(arrays.query_times[h, i] - extent.time)
    e = number(np.exp(-head.decay * lag))
    a = number(head.process * unit_variance(head.decay, lag)) + arrays.query_noise[h, i, 0]
    square = e * e
    for j in range(count):
        rows[DECAYED, j] = e * rows[KEY_DECAYED, j]
        rows[SIGMA, j] = a + square * rows[KEY_SIGMA, j]
    if not flags.directions:
        return count
    side = 1 if extent.order == LATER else 0
    # at most zero, but where all keys of the tile are hidden and have any time
    log_influence = min(arrays.query_level[h, i, side, 0] - extent.level, 1.0)
    if head.power < 0:
        for j in range(count):
            rows[INFLUENCE, j] = number(log_influence) + rows[KEY_INFLUENCE, j]
    else:
        own = number(np.exp(log_influence))
        for j in range(count):
            rows[INFLUENCE, j] = own * rows[KEY_INFLUENCE, j]
    return count


@inlined
def _pairwise_row(arrays: Any, flags: Any, head: Head, extent: Extent, i: int, rows: Any) -> int:
    number, h, (j0, j1) = rows.dtype.type, extent.head, extent.columns
    place = i + arrays.key.shape[1] - arrays.query.shape[1] - j0  # of the query among the keys
    count = min(max(place + 1, 0), j1 - j0) if flags.causal else j1 - j0
    noise, process = arrays.query_noise[h, i, 0], number(head.process)
    measurement, start = number(head.measurement), BLOCK - 1 - place
    if flags.regular:
        for j in range(count):
            rows[DECAYED, j] = rows[TABLE_DECAYED, start + j]
            rows[SIGMA, j] = noise + rows[TABLE_SIGMA, start + j]
    else:
        lag_row(
            arrays.query_times[h, i], arrays.key_times[h, j0:j1], head.decay,
            rows, count,
        )  # fmt: skip
        for j in range(count):
            square = rows[DECAYED, j] * rows[DECAYED, j]
            rows[SIGMA, j] = noise + process * rows[VARIANCE, j] + measurement * square
    if flags.directions:
        for j in range(count):
            later = flags.directions > 1 and arrays.key_times[h, j0 + j] > arrays.query_times[h, i]
            side = 1 if later else 0
            level = arrays.query_level[h, i, side, 0] - arrays.key_level[h, j0 + j, side, 0]
            rows[INFLUENCE, j] = level if head.power < 0 else np.exp(min(level, 1.0))
    return count
