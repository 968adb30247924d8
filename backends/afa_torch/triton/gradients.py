"""Gradients through the pairs of a tile of the isotropic form."""

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl

from afa_torch.triton.covariance import BESIDE, LATER, differences, of_keys
from afa_torch.triton.tiles import is_finite, load_tokens, pair_products
from afa_torch.triton.weights import (
    Rows,
    WeightGradients,
    squared_residuals,
    weight_gradients,
)


class TileGradients(NamedTuple):
    """Gradients of the pairs of a tile."""

    shown: Any  # E times weights, of the values
    of_weights: WeightGradients
    log_decay: Any  # in log E, but for its part in Σ
    product: Any


class Levels(NamedTuple):
    """Gradients in levels, of influence in the past and in the future."""

    past: Any
    future: Any


@triton.jit
def load_rows(results, outward, head, queries, n):
    """Load what the gradients of the weights of a block of queries are computed from."""
    at, inside = head.index * n.queries + queries.rows, queries.inside
    return Rows(
        tl.load(results.peak + at, mask=inside, other=0.0),
        tl.load(outward.through + at, mask=inside, other=0.0),
        tl.load(outward.direct + at, mask=inside, other=0.0),
    )


@triton.jit
def load_outward(outward, head, queries, n, flags: tl.constexpr):
    """Load the gradients in the estimates of a block of queries."""
    start = outward.mean + head.index * n.queries * flags.value_width
    return load_tokens(
        start, queries.rows, queries.inside, flags.value_width, flags.value_padded, False
    )


@triton.jit
def tile_gradients(head, tile, outward, rows, side: tl.constexpr, flags: tl.constexpr):
    """Return the gradients of the pairs of a tile."""
    model, keys, value = head.model, tile.keys, tile.keys.value
    if side == BESIDE or flags.masked:  # what a query does not see may not be finite
        value = tl.where(is_finite(value), value, 0.0)
    products = pair_products(tile.queries.tokens, keys.tokens, flags)
    by_values = pair_products(outward, value, flags)
    squared = squared_residuals(model, tile, products, flags)
    found = weight_gradients(model, tile, squared, tile.decayed * by_values, rows, flags)
    shown = found.weights * tile.decayed
    through_e = tile.decayed * of_keys(keys.square, flags) - model.scale * products
    log_decay = shown * by_values + 2.0 * tile.decayed * found.squared * through_e
    by_product = -2.0 * model.scale * tile.decayed * found.squared
    return TileGradients(shown, found, log_decay, by_product)


@triton.jit
def later_pairs(tile, log_weight, flags: tl.constexpr):
    """Return gradients in the logarithms of weights of keys that are later than the query."""
    is_later = differences(tile.queries.times, tile.keys.times, flags) < 0.0
    return tl.sum(tl.where(is_later, log_weight, 0.0), 1)


@triton.jit
def add_levels(levels, tile, log_weight, SIDE: tl.constexpr, flags: tl.constexpr):
    """Return gradients in the levels of the tokens along the first axis, up to a sign."""
    past, future = levels.past, levels.future
    if flags.directions == 1:
        past += tl.sum(log_weight, 1)
    elif flags.directions > 1:
        every = tl.sum(log_weight, 1)
        later = every if SIDE == LATER else every * 0.0
        if SIDE == BESIDE:
            later = later_pairs(tile, log_weight, flags)
        elif not flags.regular:
            if tile.order == BESIDE:
                later = later_pairs(tile, log_weight, flags)
        past, future = past + every - later, future + later
    return Levels(past, future)


@triton.jit
def signed_by_lag(gradient, lags):
    """Return gradients in t_i − t_j from those in its magnitude."""
    return tl.where(lags > 0.0, gradient, tl.where(lags < 0.0, -gradient, 0.0))


@triton.jit
def store_tokens(pointer, found, at, inside, width: tl.constexpr, padded: tl.constexpr):
    """Write tokens (rows, channels)."""
    channels = tl.arange(0, padded)
    place = pointer + at[:, None] * width + channels[None, :]
    tl.store(place, found, mask=inside[:, None] & (channels < width)[None, :])


@triton.jit
def store_levels(pointer, found, sign: tl.constexpr, at, inside, flags: tl.constexpr):
    """Write the gradients in levels."""
    if flags.directions > 0:
        tl.store(pointer + at * flags.directions, sign * found.past, mask=inside)
    if flags.directions > 1:
        tl.store(pointer + at * flags.directions + 1, sign * found.future, mask=inside)
