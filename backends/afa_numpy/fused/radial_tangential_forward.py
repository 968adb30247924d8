"""The forward of the radial–tangential form: one sum for each of its components (spec §6, §9)."""

from __future__ import annotations

from typing import Any

import numpy as np

from afa_numpy.fused.compiled import BLOCK, compiled, compiled_block
from afa_numpy.fused.forward import Sums, add_row, finish_queries, log_totals, start_sums
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
from afa_numpy.fused.rows import new_rows
from afa_numpy.fused.tiles import all_keys, next_tile


@compiled_block
def forward_block(
    arrays: Any, flags: Any, prepared: Any, h: int, i0: int, i1: int, results: Any
) -> int:
    """Write the results of queries i0 to i1 of head h; return how many pairs its tiles have."""
    like, queries, visited, width = results[0], i1 - i0, 0, arrays.value.shape[2]
    both = components_of(arrays, flags, prepared[1], h, new_rows(like, 2))
    directions = Directions(
        np.empty((2 * queries, arrays.query.shape[2]), like.dtype), np.empty(queries, like.dtype)
    )
    write_directions(arrays.query[h, i0:i1], arrays.scale[h], directions)
    products = np.empty(2 * queries * BLOCK, like.dtype)
    carried = np.zeros((2 * queries, width), like.dtype)
    log_total = np.empty((queries, prepared[3].shape[3]), np.float64)
    radial = _sums(both.radial, flags, carried[:queries], log_total[:, ::2], h, i0)
    tangential = _sums(both.tangential, flags, carried[queries:], log_total[:, 1::2], h, i0)
    left = np.empty(4, np.int64)
    all_keys(arrays, i0, i1, left)
    while True:
        j0, j1, order = next_tile(arrays, flags, prepared[3], h, i0, i1, log_total, left)
        if j0 == j1:
            break
        extents = carry_both(both, flags, (h, i0, i1, j0, j1, order))
        product = products[: 2 * queries * (j1 - j0)].reshape(2 * queries, j1 - j0)
        np.dot(directions.vectors, arrays.key[h, j0:j1].T, product)
        _weigh_tile(both, flags, extents, directions.lengths, product, radial, tangential)
        carried[:] += np.dot(product, arrays.value[h, j0:j1])
        if flags.tolerance > 0.0:
            log_totals(flags, radial)
            log_totals(flags, tangential)
        visited += queries * (j1 - j0)
    for_radial = _results_of(results, 0, width)
    finish_queries(flags, both.radial.head, radial, prepared[2], for_radial, h, i0)
    for_tangential = _results_of(results, 1, width)
    finish_queries(flags, both.tangential.head, tangential, prepared[2], for_tangential, h, i0)
    return visited


@compiled_block
def _sums(of: Component, flags: Any, carried: Any, log_total: Any, h: int, i0: int) -> Any:
    """Return the sums of a component over no key but the prior's mean."""
    arrays, head, rows = of
    number, queries = rows.dtype.type, carried.shape[0]
    weights, untempered = np.empty((queries, 2), rows.dtype), np.empty((queries, 2), rows.dtype)
    start_sums(arrays, flags, head, h, i0, number(head.inverse_temperature), weights)
    start_sums(arrays, flags, head, h, i0, number(1), untempered)
    sums = Sums(weights, untempered, carried, log_total)
    log_totals(flags, sums)
    return sums


@compiled_block
def _results_of(results: Any, s: int, width: int) -> Any:
    """Return the results of component s."""
    mean, precision, peak, total = results
    columns = mean[:, :, s * width : (s + 1) * width]
    precision, peak, total = (
        precision[:, :, s : s + 1],
        peak[:, :, s : s + 1],
        total[:, :, s : s + 1],
    )
    return columns, precision, peak, total


@compiled
def _weigh_tile(
    both: Components, flags: Any, extents: Extents, lengths: Any, product: Any, radial: Sums,
    tangential: Sums,
) -> None:  # fmt: skip
    """Add the weights of a tile to their sums, and write E times the weights over the products."""
    queries, i0 = lengths.shape[0], extents.radial.rows[0]
    for i in range(queries):
        real, imag = product[i], product[queries + i]
        count = weigh_both(real, imag, lengths[i], both, flags, extents, i0 + i)
        add_row(flags, both.radial.head, both.radial.rows, radial, i, real, count)
        add_row(flags, both.tangential.head, both.tangential.rows, tangential, i, imag, count)
