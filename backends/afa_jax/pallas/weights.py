"""Weights of pairs, and gradients through them (spec §3, §4).

Where weights are integer powers they are evaluated as such, in a unit in which they are finite;
otherwise through their logarithm L, relative to the greatest of the query.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from afa_jax.pallas.arguments import Flags, Model, Rows
from afa_jax.pallas.pairs import LOWEST, Tile, along_keys, along_queries, or_hidden


class WeightGradients(NamedTuple):
    """Weights, and gradients of every pair; in ν_s and β they are zero where it is a number."""

    weights: Any
    log_weight: Any
    squared: Any  # in cρ
    sigma: Any
    dof: Any
    inverse_temperature: Any


def log_or_lowest(x: Any) -> Any:
    """Return log x, −∞ where x = 0."""
    there = x > 0.0
    return jnp.where(there, jnp.log(jnp.where(there, x, 1.0)), LOWEST)


def log1p(x: Any) -> Any:
    """Return log (1 + x) for x ≥ 0."""
    y = 1.0 + x
    return jnp.log(y) + (x - (y - 1.0)) / y


def squared_residuals(model: Model, tile: Tile, products: Any, flags: Flags) -> Any:
    """Return cρ = c(‖q‖² + E²‖k‖² − 2E q̃ᵀk̃)."""
    cross = tile.decayed * along_keys(tile.keys.square, flags) - 2.0 * model.scale * products
    squared = along_queries(tile.queries.square, flags) + tile.decayed * cross
    return jnp.where(squared < 0.0, 0.0, squared)  # NaN stays


def log_weights(model: Model, tile: Tile, ratio: Any, flags: Flags) -> Any:
    """Return L = log a + log w of r = cρ/Σ, or −log Σ + log w of independent keys."""
    prior = tile.influence if flags.directions else -jnp.log(tile.sigma)
    if flags.weighting == "Gaussian":
        return prior - ratio
    if flags.weighting == "Rational":
        return prior - log1p(ratio)
    if flags.weighting == "StudentT":
        return prior - (1.0 + model.dof) * log1p(ratio)
    return prior


def robust_slope(model: Model, ratio: Any, flags: Flags) -> Any:
    """Return minus the derivative of log w in r."""
    if flags.weighting == "Gaussian":
        return 1.0
    if flags.weighting == "Rational":
        return 1.0 / (1.0 + ratio)
    if flags.weighting == "StudentT":
        return (1.0 + model.dof) / (1.0 + ratio)
    return 0.0


def power_weights(model: Model, tile: Tile, squared: Any, flags: Flags) -> tuple[Any, Any]:
    """Return (Σ/x)^p times influence, or times 1/Σ in a unit in which it is finite, and 1/x."""
    inverse = 1.0 / (tile.sigma + squared)
    found, rest = tile.influence, flags.power
    if not flags.directions:
        found, rest = model.unit * inverse, flags.power - 1
    if rest > 0:
        found = found * lax.integer_pow(tile.sigma * inverse, rest)
    return or_hidden(found, tile.visible, 0.0), inverse


def _power_gradients(
    model: Model, tile: Tile, squared: Any, carried: Any, rows: Rows, flags: Flags
) -> WeightGradients:
    """Return the gradients of weights that are powers; `carried` is that in a weight."""
    weights, inverse = power_weights(model, tile, squared, flags)
    log_weight = weights * (carried + along_queries(rows.through, flags))
    by_squared = (-1.0 * flags.power) * log_weight * inverse
    own = flags.power if flags.directions else flags.power - 1
    by_sigma = own * log_weight / tile.sigma + by_squared if own else by_squared
    # greater powers are numbers
    by_dof = -by_squared * squared / model.dof if flags.power == 1 else None
    return WeightGradients(weights, log_weight, by_squared, by_sigma, by_dof, None)


def _log_gradients(
    model: Model, tile: Tile, squared: Any, carried: Any, rows: Rows, flags: Flags
) -> WeightGradients:
    """Return the gradients of weights through L; `carried` is that in a weight."""
    ratio, beta = squared / tile.sigma, model.inverse_temperature
    logit = or_hidden(log_weights(model, tile, ratio, flags), tile.visible, LOWEST)
    shift = jnp.where(rows.peak > LOWEST, rows.peak, 0.0)
    scaled = or_hidden(beta * logit, tile.visible, LOWEST)
    weights = jnp.exp(scaled - along_queries(shift, flags))
    log_weight = weights * (carried + along_queries(rows.through, flags))
    by_beta = None
    if flags.has_temperature:
        by_beta = log_weight * jnp.where(logit > LOWEST, logit, 0.0)
        log_weight = beta * log_weight + along_queries(rows.direct, flags) * jnp.exp(logit)
    by_squared = -robust_slope(model, ratio, flags) * log_weight / tile.sigma
    by_sigma = -by_squared * ratio
    if not flags.directions:
        by_sigma = by_sigma - log_weight / tile.sigma
    by_dof = None
    if flags.weighting in ("Rational", "StudentT"):
        by_dof = -by_squared * squared / model.dof
    if flags.weighting == "StudentT":
        by_dof = by_dof - log_weight * log1p(ratio)
    return WeightGradients(weights, log_weight, by_squared, by_sigma, by_dof, by_beta)


def weight_gradients(
    model: Model, tile: Tile, squared: Any, carried: Any, rows: Rows, flags: Flags
) -> WeightGradients:
    """Return the gradients of weights; `carried` is that in a weight."""
    gradients = _power_gradients if flags.power >= 0 else _log_gradients
    return gradients(model, tile, squared, carried, rows, flags)
