"""Gradients through the pairs of a tile."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from afa_jax.pallas.arguments import LATER, Flags, Model
from afa_jax.pallas.pairs import (
    Head,
    Tile,
    along_keys,
    along_queries,
    or_hidden,
    pair_products,
    unit_variance,
    unit_variance_slope,
)
from afa_jax.pallas.weights import WeightGradients, squared_residuals, weight_gradients


class TileGradients(NamedTuple):
    """Gradients of the pairs of a tile."""

    shown: Any  # E times weights over Z, of the values
    of_weights: WeightGradients
    log_decay: Any  # in log E, but for its part in Σ
    product: Any


class LagGradients(NamedTuple):
    """Gradients in μ, σ² and |Δ|."""

    decay: Any
    process: Any
    lag: Any


class SideGradients(NamedTuple):
    """Gradients in the numbers of tokens for tiles on one side."""

    log_decay: Any
    variance: Any


def tile_gradients(head: Head, tile: Tile, flags: Flags) -> TileGradients:
    """Return the gradients of the pairs of a tile."""
    model, queries, keys = head.model, tile.queries, tile.keys
    assert queries.rows is not None
    products = pair_products(queries.tokens, keys.tokens, flags)
    by_values = pair_products(queries.value, keys.value, flags)
    squared = squared_residuals(model, tile, products, flags)
    inverse = along_queries(queries.rows.inverse, flags)
    carried = tile.decayed * by_values * inverse
    found = weight_gradients(model, tile, squared, carried, queries.rows, flags)
    shown = or_hidden(found.weights * tile.decayed * inverse, tile.visible, 0.0)
    through_e = tile.decayed * along_keys(keys.square, flags) - model.scale * products
    by_decay = 2.0 * tile.decayed * found.squared
    log_decay = shown * by_values + by_decay * through_e
    return TileGradients(shown, found, log_decay, -model.scale * by_decay)


def lag_gradients(
    model: Model, lag: Any, decayed: Any, grad_sigma: Any, log_decay: Any
) -> LagGradients:
    """Return gradients from those in Σ and log E, which holds E's part in Σ."""
    variance = unit_variance(model.decay, lag, decayed)
    slope = unit_variance_slope(model.decay, lag, decayed, variance)
    return LagGradients(
        model.process * grad_sigma * slope - log_decay * lag,  # which cancel pair by pair
        grad_sigma * variance,
        model.process * decayed * decayed * grad_sigma - model.decay * log_decay,
    )


def pair_lag_gradients(model: Model, tile: Tile, by: TileGradients) -> tuple[LagGradients, Any]:
    """Return gradients through the lags of a tile's pairs, in t_i − t_j, and those in η²."""
    decayed, grad_sigma = tile.decayed, by.of_weights.sigma
    measured = decayed * decayed * grad_sigma
    log_decay = by.log_decay + 2.0 * model.measurement * measured
    found = lag_gradients(model, jnp.abs(tile.lags), decayed, grad_sigma, log_decay)
    signed = jnp.where(tile.lags < 0.0, -found.lag, found.lag)
    return found._replace(lag=jnp.where(tile.lags == 0.0, 0.0, signed)), measured


def level_gradients(tile: Tile, log_weight: Any, flags: Flags) -> tuple[Any, ...]:
    """Return gradients in the levels of the tokens along the first axis, up to a sign."""
    if not flags.directions:
        return ()
    every = jnp.sum(log_weight, axis=1)
    if flags.directions == 1:
        return (every,)
    later = jnp.zeros_like(every)
    if tile.side == LATER:
        later = every
    elif tile.side is None:
        later = jnp.sum(jnp.where(tile.lags < 0.0, log_weight, 0.0), axis=1)
    return every - later, later
