"""The forward of a block of queries: sums over the tiles of its keys (spec §9)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from afa_numpy.fused.compiled import BLOCK, compiled, compiled_block, exp_row, inlined
from afa_numpy.fused.factors import carry_tile
from afa_numpy.fused.pairs import fill_row
from afa_numpy.fused.rows import (
    BITS,
    DECAYED,
    DISTANCE,
    INFLUENCE,
    KEY2,
    LOG_ROBUST,
    RATIO,
    SIGMA,
    SPARE,
    WEIGHT,
    new_rows,
)
from afa_numpy.fused.tiles import (
    Extent,
    Head,
    Strip,
    all_keys,
    head_of,
    next_tile,
    squares,
    strip_of,
)
from afa_numpy.fused.weights import distance, log_weight_row, power_row


@inlined
def hide(weight: Any, mask: Any, extent: Extent, i: int, seen: int, count: int, value: Any) -> None:
    """Set the weights of hidden pairs to a value: from a number on, and those of a mask."""
    h, j0 = extent.head, extent.columns[0]
    for j in range(seen, count):
        weight[j] = value
    if mask.shape[2]:
        visible = mask[h if mask.shape[0] > 1 else 0, i if mask.shape[1] > 1 else 0, j0:]
        for j in range(count):
            weight[j] = weight[j] if visible[j] else value


@inlined
def weigh_row(
    product: Any, query2: Any, unit: Any, arrays: Any, flags: Any, head: Head, extent: Any, i: int,
    rows: Any, seen: int, count: int,
) -> None:  # fmt: skip
    """Write the weights of the pairs of query i, or their L, from a row of products."""
    number = product.dtype.type
    twice, zero = number(2.0 * head.scale), number(0)
    correlated = flags.directions > 0
    if head.power >= 0:
        power_row(product, query2, twice, correlated, head.power, unit, rows, count)
        hide(rows[WEIGHT], arrays.mask, extent, i, seen, count, zero)
        return
    for j in range(count):
        rows[DISTANCE, j] = distance(product[j], rows[DECAYED, j], rows[KEY2, j], query2, twice)
    log_weight_row(
        rows[DISTANCE], rows[SIGMA], rows[INFLUENCE], correlated, flags.weighting,
        number(head.dof), rows[RATIO], rows[LOG_ROBUST], rows[WEIGHT], rows[SPARE],
        rows[BITS].view(np.int32), count,
    )  # fmt: skip
    lowest = number(-np.inf)
    hide(rows[WEIGHT], arrays.mask, extent, i, seen, count, lowest)


@inlined
def add_logits(scale: Any, rows: Any, sums: Any, count: int) -> Any:
    """Add exp(βL − peak), kept in the row of log (1 + r); return what shrinks earlier sums.

    `sums` are the peak and the sum of weights relative to it; L are in the row of weights.
    """
    number = rows.dtype.type
    lowest, one, total = number(-np.inf), number(1), number(0)
    peak = sums[0]
    for j in range(count):
        x = rows[WEIGHT, j]
        x = scale * x if x > lowest else lowest
        rows[SPARE, j] = x
        peak = x if x > peak else peak
    shift = peak if peak > lowest else number(0)
    for j in range(count):
        rows[SPARE, j] -= shift
    exp_row(rows[SPARE], rows[LOG_ROBUST], rows[DISTANCE], rows[BITS].view(np.int32), count)
    for j in range(count):
        total += rows[LOG_ROBUST, j]
    shrink = one if sums[0] == peak else number(np.exp(sums[0] - peak))
    sums[0], sums[1] = peak, sums[1] * shrink + total
    return shrink


@compiled
def start_sums(
    arrays: Any, flags: Any, head: Head, h: int, start: int, beta: Any, sums: Any
) -> None:
    """Write the peaks and sums over no key but the prior's mean, whose value is zero."""
    number = sums.dtype.type
    for i in range(sums.shape[0]):
        missing = -np.inf
        if arrays.missing.shape[1]:
            missing = arrays.missing[h, start + i, 0]
        there = missing > -np.inf
        if head.power >= 0:
            sums[i, 0], sums[i, 1] = number(0), number(np.exp(missing))
        else:
            sums[i, 0] = number(beta * missing if there else missing)
            sums[i, 1] = number(1) if there else number(0)


class Sums(NamedTuple):
    """Sums over the keys so far, of a block of queries."""

    weights: Any  # the peak, and the sum of weights relative to it, (n, 2)
    untempered: Any  # the same at β = 1
    carried: Any  # Σ weight E ṽ, (n, 2d_v)
    log_total: Any  # the logarithms of the sums of weights, see `next_tile`


@compiled
def log_totals(flags: Any, sums: Sums) -> None:
    """Write the logarithms of the weights so far, at β and without it."""
    for i in range(sums.log_total.shape[0]):
        sums.log_total[i, 0] = sums.weights[i, 0] + np.log(sums.weights[i, 1])
        if flags.has_temperature:
            sums.log_total[i, 1] = sums.untempered[i, 0] + np.log(sums.untempered[i, 1])


class Work(NamedTuple):
    """What the tiles of a block of queries write to, and what its queries have in common."""

    rows: Any
    query2: Any  # c‖q‖², (n,)
    products: Any  # of queries and keys, (n · BLOCK,)


@compiled_block
def forward_block(
    arrays: Any, flags: Any, prepared: Any, h: int, i0: int, i1: int, results: Any
) -> int:
    """Write the results of queries i0 to i1 of head h; return how many pairs its tiles have."""
    like, queries, visited = results[0], i1 - i0, 0
    head, number = head_of(arrays, flags, prepared[1], h), like.dtype.type
    work = Work(
        new_rows(like, 1), np.empty(queries, like.dtype), np.empty(queries * BLOCK, like.dtype)
    )
    squares(arrays.query[h, i0:i1], number(head.scale), work.query2)
    sums = Sums(
        np.empty((queries, 2), like.dtype),
        np.empty((queries, 2), like.dtype),
        np.zeros((queries, like.shape[2]), like.dtype),
        np.empty((queries, prepared[3].shape[3]), np.float64),
    )
    start_sums(arrays, flags, head, h, i0, number(head.inverse_temperature), sums.weights)
    start_sums(arrays, flags, head, h, i0, number(1), sums.untempered)
    log_totals(flags, sums)
    left = np.empty(4, np.int64)
    all_keys(arrays, i0, i1, left)
    while True:
        j0, j1, order = next_tile(arrays, flags, prepared[3], h, i0, i1, sums.log_total, left)
        if j0 == j1:
            break
        extent = carry_tile(arrays, flags, head, (h, i0, i1, j0, j1, order), work.rows)
        first = i0
        while first < i1:
            strip = strip_of(arrays, flags, extent, first)
            forward_strip(arrays, flags, prepared[2], head, extent, strip, work, sums)
            first = strip.last
        if flags.tolerance > 0.0:
            log_totals(flags, sums)
        visited += queries * (j1 - j0)
    finish_queries(flags, head, sums, prepared[2], results, h, i0)
    return visited


@compiled_block
def forward_strip(
    arrays: Any, flags: Any, units: Any, head: Head, extent: Extent, strip: Strip, work: Work,
    sums: Sums,
) -> None:  # fmt: skip
    """Add the weights of a strip and what they carry to their sums."""
    h, i0, j0, (first, last, keys) = extent.head, extent.rows[0], extent.columns[0], strip
    if not keys:
        return
    product = work.products[: (last - first) * keys].reshape(last - first, keys)
    np.dot(arrays.query[h, first:last], arrays.key[h, j0 : j0 + keys].T, product)
    weigh_strip(arrays, flags, units, head, extent, strip, product, work, sums)
    sums.carried[first - i0 : last - i0] += np.dot(product, arrays.value[h, j0 : j0 + keys])


@compiled
def weigh_strip(
    arrays: Any, flags: Any, units: Any, head: Head, extent: Extent, strip: Strip, products: Any,
    work: Work, sums: Sums,
) -> None:  # fmt: skip
    """Add the weights of a strip to their sums, and write E times the weights over the products."""
    h, i0, rows, query2 = extent.head, extent.rows[0], work.rows, work.query2
    for row in range(products.shape[0]):
        i, product = strip.first + row, products[row]
        seen, count = fill_row(arrays, flags, head, extent, i, strip.keys, rows)
        weigh_row(
            product, query2[i - i0], units[h], arrays, flags, head, extent, i, rows, seen, count
        )
        add_row(flags, head, rows, sums, i - i0, product, count)


@inlined
def add_row(
    flags: Any, head: Head, rows: Any, sums: Sums, i: int, product: Any, count: int
) -> None:
    """Add a row of weights to its sum, and write E times the weights in place of the products."""
    number = product.dtype.type
    if head.power >= 0:
        total = number(0)
        for j in range(count):
            total += rows[WEIGHT, j]
        sums.weights[i, 1] += total
    else:
        if flags.has_temperature:
            add_logits(number(1), rows, sums.untempered[i], count)
        shrink = add_logits(number(head.inverse_temperature), rows, sums.weights[i], count)
        if shrink < number(1):
            for d in range(sums.carried.shape[1]):
                sums.carried[i, d] *= shrink
        for j in range(count):
            rows[WEIGHT, j] = rows[LOG_ROBUST, j]
    for j in range(count):
        product[j] = rows[WEIGHT, j] * rows[DECAYED, j]
    for j in range(count, product.shape[0]):
        product[j] = number(0)


@compiled
def finish_queries(
    flags: Any, head: Head, sums: Sums, units: Any, results: Any, h: int, i0: int
) -> None:
    """Write the results of a block of queries."""
    for i in range(sums.weights.shape[0]):
        finish_query(flags, head, sums, i, units[h], results, h, i0 + i)


@inlined
def finish_query(
    flags: Any, head: Head, sums: Sums, i: int, unit: Any, results: Any, h: int, place: int
) -> None:
    """Write the results of a query."""
    mean, precision, peak, total = results
    number, (high, weight) = mean.dtype.type, sums.weights[i]
    peak[h, place, 0], total[h, place, 0] = high, weight
    inverse = number(1) / weight if weight > number(0) else number(0)
    for d in range(mean.shape[2]):
        mean[h, place, d] = sums.carried[i, d] * inverse
    if head.power >= 0:
        precision[h, place, 0] = weight if flags.directions else weight / unit
        return
    high, weight = sums.untempered[i] if flags.has_temperature else sums.weights[i]
    there = weight > number(0)
    precision[h, place, 0] = weight * number(np.exp(high)) if there else number(0)
