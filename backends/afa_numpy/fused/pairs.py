"""E, Σ and influence of the pairs of a query, from the factors of a tile or one by one."""

from __future__ import annotations

from typing import Any

from afa_numpy.fused.compiled import inlined
from afa_numpy.fused.factors import level_row
from afa_numpy.fused.lags import lag_row
from afa_numpy.fused.rows import (
    DECAYED,
    INFLUENCE,
    KEY_DECAYED,
    KEY_INFLUENCE,
    KEY_SIGMA,
    QUERY_DECAYED,
    QUERY_INFLUENCE,
    QUERY_SIGMA,
    SIGMA,
    TABLE_DECAYED,
    TABLE_SIGMA,
    VARIANCE,
)
from afa_numpy.fused.tiles import LANES, Extent, Head, count_of


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
