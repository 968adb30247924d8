"""Gradients through the pairs of a tile of the radial–tangential form (spec §6)."""

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl

from afa_torch.triton.covariance import BESIDE, of_keys, of_queries
from afa_torch.triton.gradients import load_outward, load_rows
from afa_torch.triton.radial_tangential import (
    BothGradients,
    Components,
    both_gradients,
    residuals_of,
)
from afa_torch.triton.tiles import is_finite, pair_products


class TileGradients(NamedTuple):
    """Gradients of the pairs of a tile."""

    shown: Components  # E times weights, of the values
    of_weights: BothGradients
    log_decay: Components  # in log E, but for its part in Σ_s
    products: Components  # in those of u and of i u
    length: Any  # in √c‖q‖
    square: Any  # in c‖k‖²


@triton.jit
def tile_gradients(heads, tiles, outward, rows, side: tl.constexpr, flags: tl.constexpr):
    """Return the gradients of the pairs of a tile."""
    tile, value = tiles.radial, tiles.radial.keys.value
    if side == BESIDE or flags.masked:  # what a query does not see may not be finite
        value = tl.where(is_finite(value), value, 0.0)
    in_radial = pair_products(outward.radial, value, flags)
    in_other = pair_products(outward.tangential, value, flags)
    residuals = residuals_of(tiles, flags)
    e = tile.decayed
    carried = Components(e * in_radial, e * in_other)
    by = both_gradients(heads.radial.model, tiles, residuals, carried, rows, flags)
    across = tl.where(residuals.tangential > 0.0, by.squared.tangential, 0.0)
    by_along = 2.0 * residuals.along * by.squared.radial
    grad_p = by_along - 2.0 * residuals.p * across
    grad_b = 2.0 * residuals.b * (by.squared.radial - across)
    square = e * e * across
    shown = Components(e * by.weights.radial, e * by.weights.tangential)
    log_decay = Components(
        residuals.p * grad_p + residuals.b * grad_b + shown.radial * in_radial,
        2.0 * square * of_keys(tile.keys.square, flags) + shown.tangential * in_other,
    )
    unit = e * of_queries(tiles.tangential.queries.square, flags)
    return TileGradients(
        shown, by, log_decay, Components(unit * grad_p, unit * grad_b), -by_along, square
    )


@triton.jit
def load_both_rows(results, outward, head, queries, n):
    """Load what the gradients of both components' weights are computed from."""
    return Components(
        load_rows(results.radial, outward.radial, head, queries, n),
        load_rows(results.tangential, outward.tangential, head, queries, n),
    )


@triton.jit
def load_both_outward(outward, head, queries, n, flags: tl.constexpr):
    """Load the gradients in both estimates of a block of queries."""
    return Components(
        load_outward(outward.radial, head, queries, n, flags),
        load_outward(outward.tangential, head, queries, n, flags),
    )
