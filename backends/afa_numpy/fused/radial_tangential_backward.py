"""The backward of the radial–tangential form: gradients of its tiles (spec §6, §9)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from afa_numpy.fused.backward import add_squares, begin_query, prior_mean
from afa_numpy.fused.compiled import BLOCK, compiled, compiled_block, inlined
from afa_numpy.fused.gradients import OfQuery
from afa_numpy.fused.lag_gradients import (
    DOF,
    INVERSE_TEMPERATURE,
    Gradients,
    add_row,
    tile_lags,
)
from afa_numpy.fused.radial_tangential import (
    Component,
    Components,
    Directions,
    Extents,
    carry_both,
    components_of,
    weigh_both,
    write_directions,
)
from afa_numpy.fused.radial_tangential_gradients import component_sums, pair_grads
from afa_numpy.fused.rows import SUM_SQUARE, new_rows
from afa_numpy.fused.tiles import Extent, all_keys, next_tile


class Work(NamedTuple):
    """What the tiles of a block of queries write to, and what its queries have in common."""

    directions: Directions
    grad_directions: Any  # in the vectors, (2n, 2d)
    grad_lengths: Any  # (n,)
    outward: Any  # gradients in the radial mean above those in the tangential one, (2n, 2d_v)
    of_queries: Any  # see `OfQuery`, of each component, (2, n, 4)
    products: Any  # of queries and keys, of gradients and values, (2, 2n · BLOCK)
    radial: Gradients
    tangential: Gradients


@compiled_block
def backward_block(
    arrays: Any, flags: Any, prepared: Any, results: Any, given: Any, found: Gradients,
    part: int, h: int, i0: int, i1: int,
) -> None:  # fmt: skip
    """Add the gradients through queries i0 to i1 of head h."""
    both = components_of(arrays, flags, prepared[1], h, new_rows(results[0], 2))
    work = _work(arrays, results[0], found, i1 - i0)
    write_directions(arrays.query[h, i0:i1], arrays.scale[h], work.directions)
    log_total = np.empty((i1 - i0, prepared[3].shape[3]), np.float64)
    _begin(both.radial, flags, results, given, work, log_total, work.radial, part, h, i0, 0)
    _begin(both.tangential, flags, results, given, work, log_total, work.tangential, part, h, i0, 1)
    left = np.empty(4, np.int64)
    all_keys(arrays, i0, i1, left)
    while True:
        j0, j1, order = next_tile(arrays, flags, prepared[3], h, i0, i1, log_total, left)
        if j0 == j1:
            break
        extents = carry_both(both, flags, (h, i0, i1, j0, j1, order))
        _tile(arrays, flags, both, extents, work, found, part)
    add_queries(arrays.scale[h], work, found.query[h, i0:i1])


@compiled_block
def _work(arrays: Any, mean: Any, found: Gradients, queries: int) -> Any:
    """Return what the tiles of a block of queries write to."""
    width, dtype = arrays.query.shape[2], mean.dtype
    return Work(
        Directions(np.empty((2 * queries, width), dtype), np.empty(queries, dtype)),
        np.zeros((2 * queries, width), dtype),
        np.zeros(queries, dtype),
        np.empty((2 * queries, arrays.value.shape[2]), dtype),
        np.empty((2, queries, 4), dtype),
        np.empty((2, 2 * queries * BLOCK), dtype),
        _gradients_of(found, 0),
        _gradients_of(found, 1),
    )


@compiled_block
def _gradients_of(found: Gradients, s: int) -> Any:
    """Return the gradients of component s."""
    return Gradients(
        found.query, found.query_times, found.query_noise[:, :, s : s + 1],
        found.query_level[:, :, :, s : s + 1], found.missing[:, :, s : s + 1], found.key,
        found.value, found.key_times, found.key_level[:, :, :, :, s : s + 1],
        found.parameters[:, :, :, s : s + 1],
    )  # fmt: skip


@compiled
def _begin(
    of: Component, flags: Any, results: Any, given: Any, work: Work, log_total: Any,
    found: Gradients, part: int, h: int, i0: int, s: int,
) -> None:  # fmt: skip
    """Write what the gradients of a component's weights are computed from."""
    (arrays, head, rows), (mean, precision, peak, total) = of, results
    queries, width, unit = log_total.shape[0], work.outward.shape[1], rows.dtype.type(1)
    for i in range(queries):
        place, of_query = i0 + i, work.of_queries[s, i]
        outward = work.outward[s * queries + i]
        for d in range(width):
            outward[d] = given[0][h, place, s * width + d]
        log_total[i, s] = peak[h, place, s] + np.log(total[h, place, s])
        if flags.has_temperature:
            log_total[i, 2 + s] = np.log(precision[h, place, s])
        begin_query(
            flags, head, unit, mean[h, place, s * width : (s + 1) * width], peak[h, place, s],
            total[h, place, s], outward, given[1][h, place, s], of_query,
        )  # fmt: skip
        if arrays.missing.shape[1]:
            prior_mean(arrays.missing[h, place, 0], flags, head, of_query, found, part, h, place)


@compiled_block
def _tile(
    arrays: Any, flags: Any, both: Components, extents: Extents, work: Work, found: Gradients,
    part: int,
) -> None:  # fmt: skip
    """Add the gradients through one tile."""
    extent, vectors = extents.radial, work.directions.vectors
    h, (j0, j1) = extent.head, extent.columns
    key, value = arrays.key[h, j0:j1], arrays.value[h, j0:j1]
    rows, size = vectors.shape[0], j1 - j0
    product = work.products[0, : rows * size].reshape(rows, size)
    value_grad = work.products[1, : rows * size].reshape(rows, size)
    np.dot(vectors, key.T, product)
    np.dot(work.outward, value.T, value_grad)
    _rows(flags, both, extents, product, value_grad, work, part)
    work.grad_directions[:] += np.dot(product, key)
    found.value[part, h, j0:j1] += np.dot(value_grad.T, work.outward)
    found.key[part, h, j0:j1] += np.dot(product.T, vectors)
    (radial, head, own), (tangential, other_head, other) = both.radial, both.tangential
    add_squares(tangential, other_head, extents.tangential, other, work.tangential, part)
    tile_lags(radial, flags, head, extent, own, work.radial, part)
    tile_lags(tangential, flags, other_head, extents.tangential, other, work.tangential, part)


@compiled
def _rows(
    flags: Any, both: Components, extents: Extents, products: Any, value_grads: Any, work: Work,
    part: int,
) -> None:  # fmt: skip
    """Add the gradients through the rows of a tile, and write those in its products."""
    i0, queries, lengths = extents.radial.rows[0], work.grad_lengths.shape[0], work.directions[1]
    both.radial.rows[SUM_SQUARE:] = lengths.dtype.type(0)
    both.tangential.rows[SUM_SQUARE:] = lengths.dtype.type(0)
    for i in range(queries):
        real, imag = products[i], products[queries + i]
        count = weigh_both(real, imag, lengths[i], both, flags, extents, i0 + i)
        by_radial, by_tangential = value_grads[i], value_grads[queries + i]
        of_queries = of_query(work.of_queries[0, i]), of_query(work.of_queries[1, i])
        by_length, by_dof, by_beta = pair_grads(
            real, imag, by_radial, by_tangential, lengths[i], flags, both, of_queries, count
        )
        for j in range(count, products.shape[1]):
            real[j], imag[j], by_radial[j], by_tangential[j] = 0, 0, 0, 0
        work.grad_lengths[i] += by_length
        parameters = work.radial.parameters[part, extents.radial.head, :, 0]
        parameters[DOF] += by_dof
        parameters[INVERSE_TEMPERATURE] += by_beta
        _add_sums(both.radial, flags, extents.radial, i0 + i, work.radial, part, count)
        _add_sums(both.tangential, flags, extents.tangential, i0 + i, work.tangential, part, count)


@inlined
def of_query(x: Any) -> OfQuery:
    """Return what the gradients of a query's weights are computed from."""
    return OfQuery(x[0], x[1], x[2], x[3])


@inlined
def _add_sums(
    of: Component, flags: Any, extent: Extent, i: int, found: Gradients, part: int, count: int
) -> None:
    """Add the gradients of a query through the Σ, E and influence of a component."""
    arrays, head, rows = of
    sums = component_sums(rows, count)
    add_row(arrays, flags, head, extent, i, sums, rows, found, part, count)


@compiled
def add_queries(scale: float, work: Work, found: Any) -> None:
    """Add the gradients in queries through their directions and lengths, which contain √c."""
    (vectors, lengths), by = work.directions, work.grad_directions
    number, queries, modes = found.dtype.type, found.shape[0], found.shape[1] // 2
    square = number(scale)
    for i in range(queries):
        if not lengths[i] > number(0):
            continue
        along = number(0)
        for d in range(modes):
            real, imag = (
                by[i, d] + by[queries + i, modes + d],
                by[i, modes + d] - by[queries + i, d],
            )
            by[i, d], by[i, modes + d] = real, imag
            along += vectors[i, d] * real + vectors[i, modes + d] * imag
        per = square / lengths[i]
        radial = work.grad_lengths[i] - per * (along / square)
        for d in range(2 * modes):
            found[i, d] += per * by[i, d] + radial * vectors[i, d]
