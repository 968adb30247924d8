"""From x and Σ of a tile to its weights, and back from their gradients (spec §3, §4).

For integer powers x is Σ + cρ, else it is cρ alone: a large ν_s would magnify what the sum rounds.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from afa_core._array.arrays import Array, Namespace
from afa_core.model.weighting import Gaussian, Rational, Uniform
from afa_core.streaming.operations import Operations, Rooms


class PairGradients(NamedTuple):
    """Weights of a tile, and derivatives of the loss: in log E, in x and in Σ.

    Those in x and Σ are to be multiplied by the numbers `scale`.
    """

    weights: Array  # (g, n, m)
    log: Array  # (g, n, 1) where pairs have a frame, else (g, n, m)
    x: Array | None
    sigma: Array | None
    scale: tuple[float, float]
    dof: Array | None  # through the exponent of the weight, row by row, (g, n, 1)
    inverse_temperature: Array | None


class Along(NamedTuple):
    """Derivatives in the weights of a tile: those that E takes part in, and those of a row."""

    carried: Array  # E ṽ times the derivative in N, (g, n, m)
    total: Array  # the derivative in Z, (g, n, 1)
    framed: bool

    def weighed(self, weights: Array, ops: Operations, *, xp: Namespace) -> tuple[Array, Array]:
        """Return the derivative in log E, row by row in a frame, and weight times derivative."""
        log = ops.multiply(self.carried, weights)
        if not self.framed:
            return log, log + weights * self.total
        by_row = xp.sum(log, axis=-1, keepdims=True)
        return by_row, ops.add_product(log, weights, self.total)


def integer_power(x: Array, exponent: int, ops: Operations) -> Array:
    """Return x^k by squaring; may overwrite x."""
    if exponent == 1:
        return x
    if exponent % 2:
        return ops.multiply(integer_power(x * x, exponent // 2, ops), x)
    return integer_power(ops.multiply(x, x), exponent // 2, ops)


def power_weights(x: Array, sigma: Array | None, power: int, ops: Operations) -> Array:
    """Return Σ^{p−1} x^{−p} = (Σ/x)^{p−1}/x; may overwrite both."""
    inverse = ops.reciprocal(x)
    if sigma is None:
        return inverse
    return ops.multiply(integer_power(ops.multiply(sigma, inverse), power - 1, ops), inverse)


def logits(weighting: type[Any], x: Any, sigma: Any, dof: Array, ops: Operations) -> Array:
    """Return L = −log Σ + log w from x = cρ and Σ; may overwrite both. `dof` is (g, 1, 1)."""
    if weighting is Uniform:
        return ops.multiply(ops.log(sigma), -1.0)
    if weighting is Rational:
        return ops.multiply(ops.log(ops.add(x, sigma)), -1.0)
    ratio = ops.multiply(x, 1.0 / sigma)  # m/(ν_s d), or m/d
    if weighting is Gaussian:
        return ops.multiply(ops.add(ops.log(sigma), ratio), -1.0)
    robust = ops.multiply(ops.log1p(ratio), dof + 1.0)
    return ops.multiply(ops.add(ops.log(sigma), robust), -1.0)


def log_robust(weighting: type[Any], ratio: Array, dof: Array, ops: Operations) -> Array:
    """Return log w of r = m/(ν_s d), or m/d; may overwrite it. `dof` is (g, 1, 1)."""
    if weighting is Gaussian:
        return ops.multiply(ratio, -1.0)
    return ops.multiply(ops.log1p(ratio), -1.0 if weighting is Rational else -(dof + 1.0))


def robust_slope(weighting: type[Any], ratio: Array, dof: Array, *, xp: Namespace) -> Array:
    """Return the derivative of log w in r."""
    if weighting is Gaussian:
        return -xp.ones_like(ratio)
    return (-1.0 if weighting is Rational else -(dof + 1.0)) / (1.0 + ratio)


def power_gradients(
    x: Any,
    sigma: Array | None,
    power: int,
    along: Along,
    visible: Array | None,
    rooms: Rooms,
    *,
    xp: Namespace,
) -> PairGradients:
    """Return −p w/x and (p−1) w/Σ times the derivative in w; may overwrite x, Σ and `along`."""
    ops = rooms.ops
    inverse = weights = ops.reciprocal(x)
    if sigma is not None:
        ratio = rooms.outer("ratio", sigma, inverse)
        weights = ops.multiply(integer_power(ratio, power - 1, ops), inverse)
    if visible is not None:
        weights = xp.where(visible, weights, 0.0)
    log, carried = along.weighed(weights, ops, xp=xp)
    scale = (-float(power), power - 1.0)
    if sigma is None:
        by_x = rooms.outer("by_x", carried, inverse)
        return PairGradients(weights, log, by_x, None, scale, None, None)
    by_sigma = ops.multiply(ops.reciprocal(sigma), carried)
    by_x = ops.multiply(inverse, carried)
    return PairGradients(weights, log, by_x, by_sigma, scale, None, None)


def logit_gradients(
    weighting: type[Any],
    x: Any,
    sigma: Any,
    dof: Array,
    inverse_temperature: Array | None,
    peak: Array,
    by_claim: Array,
    along: Along,
    visible: Array | None,
    ops: Operations,
    *,
    xp: Namespace,
) -> PairGradients:
    """Return the same through L; `by_claim` is the derivative in every exp(L) of a row."""
    copies = [None if each is None else each + 0.0 for each in (x, sigma)]
    logit = logits(weighting, copies[0], copies[1], dof, ops)
    cooled = logit if inverse_temperature is None else inverse_temperature * logit
    peak = xp.where(peak == -xp.inf, 0.0, peak)
    weights = ops.exp(cooled - peak)
    if visible is not None:
        weights = xp.where(visible, weights, 0.0)
    log, carried = along.weighed(weights, ops, xp=xp)
    by_logit, by_temperature = carried, None
    if inverse_temperature is not None:
        by_temperature = xp.sum(carried * logit, axis=-1, keepdims=True)
        by_logit = inverse_temperature * carried
        claimed = by_claim * xp.exp(logit)
        by_logit = by_logit + (claimed if visible is None else xp.where(visible, claimed, 0.0))
    by_dof = None
    if weighting is Uniform:
        by_x, by_sigma = None, -by_logit / sigma
    elif weighting is Rational:
        by_x = by_sigma = -by_logit / (x + sigma)
    elif weighting is Gaussian:
        by_x = -by_logit / sigma
        by_sigma = by_x * (1.0 - x / sigma)
    else:
        by_x = -(dof + 1.0) * by_logit / (x + sigma)
        by_sigma = -(by_logit + by_x * x) / sigma
        by_dof = -xp.sum(by_logit * xp.log1p(x / sigma), axis=-1, keepdims=True)
    return PairGradients(weights, log, by_x, by_sigma, (1.0, 1.0), by_dof, by_temperature)
