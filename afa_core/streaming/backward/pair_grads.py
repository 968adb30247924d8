"""Gradients in x and Σ of a tile's pairs, from those in their weights (spec §3, §4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from afa_core._array.arrays import Array, Namespace
from afa_core._array.log_sum_exp import finite_peak
from afa_core.model.weighting import (
    Gaussian,
    Rational,
    StudentT,
    Uniform,
    Weighting,
    integer_power,
)
from afa_core.streaming.forward.sums import scaled_log_weight
from afa_core.streaming.operations import Operations, Workspace
from afa_core.streaming.pair_weights import log_robust_slope, logits


class PairGrads(NamedTuple):
    """The weights of a tile, and gradients in log E, in x and in Σ of its pairs.

    Those in x and Σ are still to be multiplied by the two numbers of `scale`.
    """

    weights: Array  # (g, n, m)
    log_weight: Array  # the gradient in log w, and in log a of correlated keys, (g, n, m)
    log_decay: Array  # (g, n, 1) where the tile has a reference time, else (g, n, m)
    x: Array | None
    sigma: Array | None
    scale: tuple[float, float]
    dof: Array | None  # through the exponent of the weight, row by row, (g, n, 1)
    inverse_temperature: Array | None


class WeightGrads(NamedTuple):
    """Gradients in the weights of a tile: through the values that they carry, and through Z."""

    carried: Array  # E ṽ times the gradient in N, (g, n, m)
    total: Array  # the gradient in Z, (g, n, 1)
    factored: bool  # whether the tile has a reference time

    def times(self, weights: Array, ops: Operations, *, xp: Namespace) -> tuple[Array, Array]:
        """Return the gradient in log E, summed over rows if `factored`, and weight · gradient."""
        log_decay = ops.multiply(self.carried, weights)
        if not self.factored:
            return log_decay, log_decay + weights * self.total
        by_row = xp.sum(log_decay, axis=-1, keepdims=True)
        return by_row, ops.add_product(log_decay, weights, self.total)


def power_grads(
    x: Any,
    sigma: Array | None,
    power: int,
    influence: Array | None,
    grads: WeightGrads,
    visible: Array | None,
    workspace: Workspace,
    *,
    xp: Namespace,
) -> PairGrads:
    """Return −p w/x and (p−1) w/Σ times the gradient in w; may overwrite x, Σ and `grads`.

    The weights of correlated keys have an influence in the place of 1/Σ, so that it is p w/Σ.
    """
    ops = workspace.ops
    inverse = weights = ops.reciprocal(x)
    sigma_power = power - 1 if influence is None else power
    if sigma is not None:
        ratio = workspace.outer("ratio", sigma, inverse)
        prior = inverse if influence is None else influence
        weights = ops.multiply(integer_power(ratio, sigma_power, ops.multiply), prior)
    if visible is not None:
        weights = ops.zero_hidden(weights, visible)
    log_decay, weighted = grads.times(weights, ops, xp=xp)
    scale = (-float(power), float(sigma_power))
    if sigma is None:
        grad_x = workspace.outer("grad_x", weighted, inverse)
        return PairGrads(weights, weighted, log_decay, grad_x, None, scale, None, None)
    grad_sigma = ops.multiply(ops.reciprocal(sigma), weighted)
    grad_x = ops.multiply(inverse, weighted)
    return PairGrads(weights, weighted, log_decay, grad_x, grad_sigma, scale, None, None)


def logit_grads(
    weighting: type[Weighting],
    x: Any,
    sigma: Any,
    dof: Array,
    inverse_temperature: Array | None,
    log_influence: Sequence[Array],
    peak: Array,
    grad_untempered: Array,
    grads: WeightGrads,
    visible: Array | None,
    ops: Operations,
    *,
    xp: Namespace,
) -> PairGrads:
    """Return the gradients through L; `grad_untempered` is that in every exp(L) of a row."""
    copies = [None if each is None else each + 0.0 for each in (x, sigma)]
    logit = logits(weighting, copies[0], copies[1], dof, log_influence, ops)
    scaled = logit
    if inverse_temperature is not None and log_influence:
        scaled = scaled_log_weight(logit, inverse_temperature, xp=xp)
    elif inverse_temperature is not None:
        scaled = inverse_temperature * logit
    weights = ops.exp(scaled - finite_peak(peak, xp=xp))
    if visible is not None:
        weights = ops.zero_hidden(weights, visible)
    log_decay, grad_logit = grads.times(weights, ops, xp=xp)
    grad_temperature = None
    if inverse_temperature is not None:
        known = xp.where(logit > -xp.inf, logit, 0.0)  # hidden correlated keys have none
        grad_temperature = xp.sum(grad_logit * known, axis=-1, keepdims=True)
        untempered = grad_untempered * xp.exp(logit)
        if visible is not None:
            untempered = xp.where(visible, untempered, 0.0)
        grad_logit = inverse_temperature * grad_logit + untempered
    through = _through_robust if log_influence else _through_logit
    grad_x, grad_sigma, grad_dof = through(weighting, x, sigma, dof, grad_logit, xp=xp)
    grads_of = grad_x, grad_sigma, (1.0, 1.0), grad_dof, grad_temperature
    return PairGrads(weights, grad_logit, log_decay, *grads_of)


def _through_logit(
    weighting: type[Weighting], x: Any, sigma: Any, dof: Array, grad_logit: Array, *, xp: Namespace
) -> tuple[Array | None, Array, Array | None]:
    """Return the gradients in x, in Σ, and in ν_s as an exponent, row by row."""
    if weighting is Uniform:
        return None, -grad_logit / sigma, None
    if weighting is Rational:
        both = -grad_logit / (x + sigma)
        return both, both, None
    if weighting is Gaussian:
        grad_x = -grad_logit / sigma
        return grad_x, grad_x * (1.0 - x / sigma), None
    grad_x = -(dof + 1.0) * grad_logit / (x + sigma)
    grad_sigma = -(grad_logit + grad_x * x) / sigma
    return grad_x, grad_sigma, -xp.sum(grad_logit * xp.log1p(x / sigma), axis=-1, keepdims=True)


def _through_robust(
    weighting: type[Weighting], x: Any, sigma: Any, dof: Array, grad_logit: Array, *, xp: Namespace
) -> tuple[Array | None, Array | None, Array | None]:
    """Return the same of correlated keys, whose logit is log w alone beside log a."""
    if weighting is Uniform:
        return None, None, None
    ratio = x / sigma
    grad_ratio = grad_logit * log_robust_slope(weighting, ratio, dof, xp=xp)
    grad_x = grad_ratio / sigma
    by_dof = None
    if weighting is StudentT:
        by_dof = -xp.sum(grad_logit * xp.log1p(ratio), axis=-1, keepdims=True)
    return grad_x, -grad_x * ratio, by_dof
