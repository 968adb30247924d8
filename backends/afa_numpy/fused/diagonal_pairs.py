"""E, 1/Σ and influence of the pairs of the diagonal form, mode by mode.

On a regular grid, where queries share their noise, they depend on the lag alone: each tile has a
table, of which every row of pairs is a part. Elsewhere E and Σ are factors of either side in tiles
with a reference time (see `tiles`), and evaluated pair by pair beside the queries.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from afa_numpy.fused.compiled import compiled, inlined
from afa_numpy.fused.diagonal_rows import (
    DECAYED,
    INVERSE,
    KEY_DECAYED,
    KEY_INFLUENCE,
    KEY_REAL,
    KEY_SIGMA,
    PRIOR,
    QUERY_DECAYED,
    QUERY_INFLUENCE,
    QUERY_SIGMA,
    VALUE_REAL,
    Work,
    load_tokens,
)
from afa_numpy.fused.factors import KEYS, QUERIES, carry, carry_influence, level_row, sides_of
from afa_numpy.fused.lags import lag_row
from afa_numpy.fused.rows import DECAYED as ROW_DECAYED
from afa_numpy.fused.rows import INFLUENCE, SIGMA, VARIANCE
from afa_numpy.fused.tiles import Extent, Head, extent_of
from afa_numpy.fused.weights import UNIFORM


@compiled
def own_peaks(flags: Any, head: Head) -> bool:
    """Whether every mode has logarithms of weights, and a peak, of its own."""
    robust = flags.weighting != UNIFORM and head.power < 0
    return bool(flags.has_temperature or (flags.directions > 0 and robust))


@compiled
def equal_noise(noise: Any) -> bool:
    """Whether queries (n, s) share their noise."""
    different = 0
    for i in range(1, noise.shape[0]):
        for k in range(noise.shape[1]):
            different += noise[i, k] != noise[0, k]
    return different == 0


@compiled
def carry_tile(arrays: Any, flags: Any, head: Head, tabled: bool, at: Any, work: Work) -> Any:
    """Write the keys of a tile, with factors or tables of their pairs; return its place."""
    h, _, _, j0, j1, order = at
    modes, number = work.modes, work.modes.dtype.type
    load_tokens(arrays.key[h, j0:j1], number(np.sqrt(head.scale)), modes, KEY_REAL)
    load_tokens(arrays.value[h, j0:j1], number(1), modes, VALUE_REAL)
    extent = extent_of(arrays, at)
    for k in range(modes.shape[0]):
        for side in range(*sides_of(tabled, extent)):
            _write_factors(arrays, extent, side, k, work)
        if flags.directions and order:
            own, rows = own_peaks(flags, head), work.rows
            for i in range(carry_influence(arrays, extent, QUERIES, k, own, rows)):
                modes[k, QUERY_INFLUENCE, i] = rows[INFLUENCE, i]
            for j in range(carry_influence(arrays, extent, KEYS, k, own, rows)):
                modes[k, KEY_INFLUENCE, j] = rows[INFLUENCE, j]
    return extent


@inlined
def _write_factors(arrays: Any, extent: Extent, side: int, k: int, work: Work) -> None:
    """Write E and Σ of a table, or the factors of queries or keys."""
    h, i0, rows, modes, pairs = (
        extent.head, extent.rows[0], work.rows, work.modes, work.pairs
    )  # fmt: skip
    number, count = rows.dtype.type, carry(arrays, extent, side, arrays.decay[h, k], rows)
    process, measurement = number(arrays.process[h, k]), number(arrays.measurement[h, k])
    if side == QUERIES:
        noise = arrays.query_noise[h, i0:, k]
        for i in range(count):
            modes[k, QUERY_DECAYED, i] = rows[ROW_DECAYED, i]
            modes[k, QUERY_SIGMA, i] = noise[i] + process * rows[VARIANCE, i]
        return
    for j in range(count):
        square = rows[ROW_DECAYED, j] * rows[ROW_DECAYED, j]
        rows[SIGMA, j] = process * rows[VARIANCE, j] + square * measurement
    if side == KEYS:
        for j in range(count):
            modes[k, KEY_DECAYED, j] = rows[ROW_DECAYED, j]
            modes[k, KEY_SIGMA, j] = rows[SIGMA, j]
        return
    noise = arrays.query_noise[h, i0, k]
    for t in range(count):
        pairs[k, DECAYED, t] = rows[ROW_DECAYED, t]
        pairs[k, INVERSE, t] = number(1) / (noise + rows[SIGMA, t])
        pairs[k, PRIOR, t] = pairs[k, INVERSE, t]


@inlined
def fill_pairs(
    arrays: Any, flags: Any, logarithms: bool, tabled: bool, extent: Extent, k: int, i: int,
    work: Work, count: int,
) -> int:  # fmt: skip
    """Write E, 1/Σ and influence of the pairs of query i in mode k; return where they begin."""
    if tabled:
        start = extent.rows[1] - 1 - i
        if flags.directions:
            _fill_prior(arrays, flags, logarithms, extent, k, i, start, work, count)
        return start
    if extent.order:
        _fill_factored(extent, k, i - extent.rows[0], work, count)
    else:
        _fill_pairwise(arrays, extent, k, i, work, count)
    if flags.directions:
        _fill_prior(arrays, flags, logarithms, extent, k, i, 0, work, count)
    return 0


@inlined
def _fill_factored(extent: Extent, k: int, row: int, work: Work, count: int) -> None:
    modes, pairs, one = work.modes, work.pairs, work.modes.dtype.type(1)
    e, a = modes[k, QUERY_DECAYED, row], modes[k, QUERY_SIGMA, row]
    square = e * e
    for j in range(count):
        pairs[k, DECAYED, j] = e * modes[k, KEY_DECAYED, j]
        inverse = one / (a + square * modes[k, KEY_SIGMA, j])
        pairs[k, INVERSE, j] = inverse
        pairs[k, PRIOR, j] = inverse


@inlined
def _fill_pairwise(arrays: Any, extent: Extent, k: int, i: int, work: Work, count: int) -> None:
    h, (j0, j1), rows, pairs = extent.head, extent.columns, work.rows, work.pairs
    number = rows.dtype.type
    process, measurement = number(arrays.process[h, k]), number(arrays.measurement[h, k])
    noise, one = arrays.query_noise[h, i, k], number(1)
    times = arrays.key_times[h, j0:j1]
    lag_row(arrays.query_times[h, i], times, arrays.decay[h, k], rows, count)
    for j in range(count):
        e = rows[ROW_DECAYED, j]
        inverse = one / (noise + process * rows[VARIANCE, j] + measurement * e * e)
        pairs[k, DECAYED, j] = e
        pairs[k, INVERSE, j] = inverse
        pairs[k, PRIOR, j] = inverse


@inlined
def _fill_prior(
    arrays: Any, flags: Any, logarithms: bool, extent: Extent, k: int, i: int, start: int,
    work: Work, count: int,
) -> None:  # fmt: skip
    """Write the influence of the pairs of query i, or its logarithm."""
    rows, modes, pairs = work.rows, work.modes, work.pairs
    prior = pairs[k, PRIOR, start:]
    if extent.order:
        own = modes[k, QUERY_INFLUENCE, i - extent.rows[0]]
        if logarithms:
            for j in range(count):
                prior[j] = own + modes[k, KEY_INFLUENCE, j]
        else:
            for j in range(count):
                prior[j] = own * modes[k, KEY_INFLUENCE, j]
        return
    level_row(arrays, flags, extent, i, k, logarithms, rows, count)
    for j in range(count):
        prior[j] = rows[INFLUENCE, j]
