"""The tiles of a block of queries: which keys they hold, and in which order they come."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from afa_numpy.fused.compiled import compiled, inlined

EARLIER, BESIDE, LATER = 1, 0, -1
"""Where the keys of a tile are in time; beside means anywhere."""
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
    component beside `log_total`, the logarithm of the weight so far: (n, s), or (n, 2s), at β and
    without it, where the precision is not the sum of the weights.
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
def weighed_at(arrays: Any, h: int, total: int) -> tuple[float, int]:
    """Return the β and the component of a sum of weights: those at β come before those without."""
    components = arrays.process.shape[1]
    if total < components:
        return arrays.inverse_temperature[h], total
    return 1.0, total - components


@inlined
def apart(arrays: Any, flags: Any, h: int, i0: int, i1: int, key: int, side: int) -> bool:
    """Whether the keys from one on outwards are all on that side of the queries in time, too.

    Others, of keys in any order, have influence by the levels of the other direction.
    """
    if flags.regular or flags.directions == 1:
        return True
    first, last = bounds(arrays.query_times[h, i0:i1])
    times = arrays.key_times[h]
    if side == 0:
        for j in range(key, -1, -1):
            if times[j] > first:
                return False
    else:
        for j in range(key, times.shape[0]):
            if times[j] <= last:
                return False
    return True


@inlined
def negligible(
    arrays: Any, flags: Any, far: Any, h: int, i0: int, i1: int, log_total: Any, key: int, side: int
) -> bool:
    """Whether the keys from one on outwards have at most a share τ of the weight of every row."""
    bound = np.log(flags.tolerance) - np.log(flags.directions)
    for i in range(i0, i1):
        for s in range(log_total.shape[1]):
            beta, component = weighed_at(arrays, h, s)
            level = beta * arrays.query_level[h, i, side, component]
            if not (level + far[h, key, side, s] <= log_total[i - i0, s] + bound):
                return False
    return bool(apart(arrays, flags, h, i0, i1, key, side))


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
