"""Weights of pairs, and gradients through them (spec §3, §4).

Where weights are integer powers they are evaluated as such, in a unit in which they are finite;
otherwise through their logarithm L, relative to the greatest of the query.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl

from afa_torch.triton.covariance import of_keys, of_queries
from afa_torch.triton.fast_math import fast_log, log1p, power, reciprocal
from afa_torch.triton.sides import LOWEST
from afa_torch.triton.tiles import or_hidden

GAUSSIAN, RATIONAL, STUDENT, UNIFORM = (tl.constexpr(x) for x in range(4))
"""Numbers of the weightings."""


class Rows(NamedTuple):
    """What the gradients of a query's weights are computed from."""

    peak: Any
    through: Any  # see `Outward`
    direct: Any


class WeightGradients(NamedTuple):
    """Weights, and gradients in log w, cρ, Σ; those in ν_s and β are summed over the pairs."""

    weights: Any
    log_weight: Any
    squared: Any
    sigma: Any
    dof: Any
    inverse_temperature: Any


@triton.jit
def log_or_lowest(x):
    """Return log x, −∞ where x = 0."""
    there = x > 0.0
    return tl.where(there, tl.log(tl.where(there, x, 1.0)), LOWEST)


@triton.jit
def squared_residuals(model, tile, products, flags: tl.constexpr):
    """Return cρ = c(‖q‖² + E²‖k‖² − 2E q̃ᵀk̃)."""
    cross = tile.decayed * of_keys(tile.keys.square, flags) - 2.0 * model.scale * products
    squared = of_queries(tile.queries.square, flags) + tile.decayed * cross
    return tl.maximum(squared, 0.0, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def log_prior(tile, flags: tl.constexpr):
    """Return the logarithm of influence, or minus that of Σ."""
    return tile.influence if flags.directions > 0 else -fast_log(tile.sigma, flags)


@triton.jit
def log_robust(model, ratio, flags: tl.constexpr):
    """Return log w of r = cρ/Σ."""
    if flags.weighting == GAUSSIAN:
        found = -ratio
    elif flags.weighting == RATIONAL:
        found = -log1p(ratio, flags)
    elif flags.weighting == STUDENT:
        found = -(1.0 + model.dof) * log1p(ratio, flags)
    else:
        found = ratio * 0.0
    return found


@triton.jit
def exponent_of(model, flags: tl.constexpr):
    """Return p of w = (1 + r)^(−p), or that of e^(−pr)."""
    exponent = 1.0
    if flags.power >= 0:
        exponent = 1.0 * flags.power
    elif flags.weighting == STUDENT:
        exponent = 1.0 + model.dof
    elif flags.weighting == UNIFORM:
        exponent = 0.0
    return exponent


@triton.jit
def robust_slope(model, ratio, flags: tl.constexpr):
    """Return minus the derivative of log w in r."""
    exponent = exponent_of(model, flags)
    return exponent if flags.weighting == GAUSSIAN else exponent * reciprocal(1.0 + ratio, flags)


@triton.jit
def power_weights(model, tile, squared, flags: tl.constexpr):
    """Return (Σ/x)^p, x = Σ + cρ, times influence, or times 1/Σ in a unit in which it is finite."""
    inverse = reciprocal(tile.sigma + squared, flags)
    if flags.directions > 0:
        found = tile.influence
        if flags.power > 0:
            found = found * power(tile.sigma * inverse, flags.power)
    else:
        found = model.unit * inverse
        if flags.power > 1:
            found = found * power(tile.sigma * inverse, flags.power - 1)
    return or_hidden(found, tile.visible, 0.0, tile.cut)


@triton.jit
def power_gradients(model, tile, squared, carried, rows, flags: tl.constexpr):
    """Return the gradients of weights that are powers; `carried` is that in a weight."""
    sigma, weights = tile.sigma, power_weights(model, tile, squared, flags)
    log_weight = weights * (carried + of_queries(rows.through, flags))
    by_squared = -flags.power * log_weight * reciprocal(sigma + squared, flags)
    own: tl.constexpr = flags.power if flags.directions > 0 else flags.power - 1
    by_sigma = by_squared
    if own > 0:
        by_sigma += own * log_weight * reciprocal(sigma, flags)
    by_dof = 0.0
    if flags.power < 2:  # greater ones are numbers
        by_dof = -tl.sum(by_squared * squared, 1) / model.dof
    return WeightGradients(weights, log_weight, by_squared, by_sigma, by_dof, 0.0)


@triton.jit
def logit_gradients(model, tile, logit, carried, rows, flags: tl.constexpr):
    """Return weights from L, and gradients in L and, summed over the pairs, in β."""
    logit = or_hidden(logit, tile.visible, LOWEST, tile.cut)
    shift = tl.where(rows.peak > LOWEST, rows.peak, 0.0)
    beta = model.inverse_temperature
    scaled = or_hidden(beta * logit, tile.visible, LOWEST, tile.cut)
    weights = tl.exp(scaled - of_queries(shift, flags))
    log_weight = weights * (carried + of_queries(rows.through, flags))
    by_beta = 0.0
    if flags.has_temperature:
        kept = tl.where(logit > LOWEST, logit, 0.0)
        by_beta = tl.sum(log_weight * kept, 1)
        log_weight = beta * log_weight + of_queries(rows.direct, flags) * tl.exp(logit)
    return weights, log_weight, by_beta


@triton.jit
def log_gradients(model, tile, squared, carried, rows, flags: tl.constexpr):
    """Return the gradients of weights through L; `carried` is that in a weight."""
    per_sigma = reciprocal(tile.sigma, flags)
    ratio = squared * per_sigma
    logit = log_prior(tile, flags) + log_robust(model, ratio, flags)
    weights, log_weight, by_beta = logit_gradients(model, tile, logit, carried, rows, flags)
    by_squared = -robust_slope(model, ratio, flags) * log_weight * per_sigma
    own: tl.constexpr = 0.0 if flags.directions > 0 else 1.0
    by_sigma = -by_squared * ratio - own * log_weight * per_sigma
    by_dof = 0.0
    if flags.weighting == STUDENT:
        by_dof -= tl.sum(log_weight * log1p(ratio, flags), 1)
    if flags.weighting != GAUSSIAN:
        by_dof -= tl.sum(by_squared * squared, 1) / model.dof
    return WeightGradients(weights, log_weight, by_squared, by_sigma, by_dof, by_beta)


@triton.jit
def weight_gradients(model, tile, squared, carried, rows, flags: tl.constexpr):
    """Return the gradients of weights; `carried` is that in a weight."""
    if flags.power >= 0:
        found = power_gradients(model, tile, squared, carried, rows, flags)
    else:
        found = log_gradients(model, tile, squared, carried, rows, flags)
    return found
