"""The backward of blocks of queries: gradients from tiles that are evaluated again (spec §9)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from afa_numpy.fused.compiled import BLOCK, compiled, compiled_block, inlined
from afa_numpy.fused.factors import carry_tile
from afa_numpy.fused.forward import weigh_row
from afa_numpy.fused.gradients import OfQuery, pair_grads
from afa_numpy.fused.lag_gradients import (
    DOF,
    INVERSE_TEMPERATURE,
    Gradients,
    add_row,
    tile_lags,
)
from afa_numpy.fused.pairs import fill_row
from afa_numpy.fused.rows import DECAYED, GRAD_DISTANCE, SUM_SQUARE, new_rows
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


class Work(NamedTuple):
    """What the tiles of a block of queries write to, and what its queries have in common."""

    rows: Any
    query2: Any  # c‖q‖², (n,)
    of_queries: Any  # see `OfQuery`, (n, 4)
    products: Any  # of queries and keys, of gradients and values, (2, n · BLOCK)


@compiled_block
def backward_block(
    arrays: Any, flags: Any, prepared: Any, results: Any, given: Any, found: Gradients,
    part: int, h: int, i0: int, i1: int,
) -> None:  # fmt: skip
    """Add the gradients through queries i0 to i1 of head h."""
    (_, powers, units, far), mean = prepared, results[0]
    head, queries = head_of(arrays, flags, powers, h), i1 - i0
    work = Work(
        new_rows(mean, 1),
        np.empty(queries, mean.dtype),
        np.empty((queries, 4), mean.dtype),
        np.empty((2, queries * BLOCK), mean.dtype),
    )
    log_total = np.empty((queries, far.shape[3]), np.float64)
    begin_queries(arrays, flags, head, units, results, given, work, log_total, found, part, h, i0)
    left = np.empty(4, np.int64)
    all_keys(arrays, i0, i1, left)
    while True:
        j0, j1, order = next_tile(arrays, flags, far, h, i0, i1, log_total, left)
        if j0 == j1:
            break
        extent = carry_tile(arrays, flags, head, (h, i0, i1, j0, j1, order), work.rows)
        backward_tile(arrays, flags, units, head, extent, given[0], work, found, part)


@compiled_block
def backward_tile(
    arrays: Any, flags: Any, units: Any, head: Head, extent: Extent, grad_mean: Any, work: Work,
    found: Gradients, part: int,
) -> None:  # fmt: skip
    """Add the gradients through one tile."""
    first, last = extent.rows
    work.rows[SUM_SQUARE:] = work.rows.dtype.type(0)
    while first < last:
        strip = strip_of(arrays, flags, extent, first)
        backward_strip(arrays, flags, units, head, extent, strip, grad_mean, work, found, part)
        first = strip.last
    add_squares(arrays, head, extent, work.rows, found, part)
    tile_lags(arrays, flags, head, extent, work.rows, found, part)


@compiled_block
def backward_strip(
    arrays: Any, flags: Any, units: Any, head: Head, extent: Extent, strip: Strip, grad_mean: Any,
    work: Work, found: Gradients, part: int,
) -> None:  # fmt: skip
    """Add the gradients through the products of a strip, and through its rows to their sums."""
    h, j0, (first, last, keys) = extent.head, extent.columns[0], strip
    if not keys:
        return
    query, outward = arrays.query[h, first:last], grad_mean[h, first:last]
    key, value = arrays.key[h, j0 : j0 + keys], arrays.value[h, j0 : j0 + keys]
    product = work.products[0, : (last - first) * keys].reshape(last - first, keys)
    value_grad = work.products[1, : (last - first) * keys].reshape(last - first, keys)
    np.dot(query, key.T, product)
    np.dot(outward, value.T, value_grad)
    backward_rows(arrays, flags, units, head, extent, strip, product, value_grad, work, found, part)
    found.query[h, first:last] += np.dot(product, key)
    found.value[part, h, j0 : j0 + keys] += np.dot(value_grad.T, outward)
    found.key[part, h, j0 : j0 + keys] += np.dot(product.T, query)


@compiled
def backward_rows(
    arrays: Any, flags: Any, units: Any, head: Head, extent: Extent, strip: Strip, products: Any,
    value_grads: Any, work: Work, found: Gradients, part: int,
) -> None:  # fmt: skip
    """Add the gradients through the rows of a strip, and write those in its products."""
    h, i0, rows = extent.head, extent.rows[0], work.rows
    for row in range(products.shape[0]):
        i, product, value_grad = strip.first + row, products[row], value_grads[row]
        seen, count = fill_row(arrays, flags, head, extent, i, strip.keys, rows)
        weigh_row(
            product, work.query2[i - i0], units[h], arrays, flags, head, extent, i,
            rows, seen, count,
        )  # fmt: skip
        backward_row(arrays, flags, head, extent, i, product, value_grad, work, found, part, count)


@compiled
def add_squares(
    arrays: Any, head: Head, extent: Extent, rows: Any, found: Gradients, part: int
) -> None:
    """Add the gradients in the keys of a tile through their squares."""
    h, (j0, j1), twice = extent.head, extent.columns, rows.dtype.type(2.0 * head.scale)
    keys, grads = arrays.key[h, j0:j1], found.key[part, h, j0:j1]
    for j in range(j1 - j0):
        by_square = twice * rows[SUM_SQUARE, j]
        for d in range(keys.shape[1]):
            grads[j, d] += by_square * keys[j, d]


@inlined
def backward_row(
    arrays: Any, flags: Any, head: Head, extent: Extent, i: int, product: Any, value_grad: Any,
    work: Work, found: Gradients, part: int, count: int,
) -> None:  # fmt: skip
    """Add the gradients of a query, and write those in the products of its row."""
    h, number, rows = extent.head, product.dtype.type, work.rows
    peak, inverse_total, grad_total, grad_precision = work.of_queries[i - extent.rows[0]]
    of_query = OfQuery(peak, inverse_total, grad_total, grad_precision)
    sums = pair_grads(product, value_grad, flags, head, of_query, rows, count)
    for j in range(count, product.shape[0]):
        product[j] = number(0)
        value_grad[j] = number(0)
    for j in range(count):
        square = rows[DECAYED, j] * rows[DECAYED, j]
        rows[SUM_SQUARE, j] += square * rows[GRAD_DISTANCE, j]
    parameters, query = found.parameters[part, h, :, 0], arrays.query[h, i]
    parameters[DOF] += sums.dof
    parameters[INVERSE_TEMPERATURE] += sums.inverse_temperature
    by_square = number(2.0 * head.scale) * sums.distance
    for d in range(query.shape[0]):
        found.query[h, i, d] += by_square * query[d]
    add_row(arrays, flags, head, extent, i, sums, rows, found, part, count)


@compiled
def begin_queries(
    arrays: Any, flags: Any, head: Head, units: Any, results: Any, given: Any, work: Work,
    log_total: Any, found: Gradients, part: int, h: int, i0: int,
) -> None:  # fmt: skip
    """Write what the gradients of the weights of a block of queries are computed from."""
    mean, precision, peak, total = results
    i1 = i0 + log_total.shape[0]
    squares(arrays.query[h, i0:i1], mean.dtype.type(head.scale), work.query2)
    for i in range(log_total.shape[0]):
        place, of_query = i0 + i, work.of_queries[i]
        log_total[i, 0] = peak[h, place, 0] + np.log(total[h, place, 0])
        if flags.has_temperature:
            log_total[i, 1] = np.log(precision[h, place, 0])
        begin_query(
            flags, head, units[h], mean[h, place], peak[h, place, 0], total[h, place, 0],
            given[0][h, place], given[1][h, place, 0], of_query,
        )  # fmt: skip
        if arrays.missing.shape[1]:
            prior_mean(arrays.missing[h, place, 0], flags, head, of_query, found, part, h, place)


@inlined
def begin_query(
    flags: Any, head: Head, unit: Any, mean: Any, peak: Any, total: Any, outward: Any,
    grad_precision: Any, of_query: Any,
) -> None:  # fmt: skip
    """Write what the gradients of a query's weights are computed from: see `OfQuery`."""
    number = mean.dtype.type
    inverse = number(1) / total if total > number(0) else number(0)
    along = number(0)
    for d in range(mean.shape[0]):
        along += outward[d] * mean[d]
    through, direct = -along * inverse, number(0)
    if head.power >= 0:
        through += grad_precision * (number(1) if flags.directions else number(1) / unit)
    elif flags.has_temperature:
        direct = grad_precision
    else:
        through += grad_precision * number(np.exp(peak))
    of_query[0], of_query[1], of_query[2], of_query[3] = peak, inverse, through, direct


@inlined
def prior_mean(
    missing: float, flags: Any, head: Head, of: Any, found: Gradients, part: int, h: int, i: int
) -> None:
    """Add the gradients through the weight of the prior's mean, whose value is zero."""
    if missing == -np.inf:
        return
    if head.power >= 0:
        found.missing[h, i, 0] += np.exp(missing) * of[2]
        return
    by_weight = np.exp(head.inverse_temperature * missing - of[0]) * of[2]
    found.missing[h, i, 0] += head.inverse_temperature * by_weight + of[3] * np.exp(missing)
    if flags.has_temperature:
        found.parameters[part, h, INVERSE_TEMPERATURE, 0] += by_weight * missing
