"""From x and Σ of a tile's pairs to their weights (spec §3, §4).

For integer powers x is Σ + cρ; otherwise it is cρ alone, because a large ν_s would magnify the
rounding of the sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Any

from afa_core._array.arrays import Array, Namespace
from afa_core.model.weighting import Gaussian, Rational, Uniform, Weighting, integer_power
from afa_core.streaming.operations import Operations


def power_weights(
    x: Array, sigma: Array | None, power: int, influence: Array | None, ops: Operations
) -> Array:
    """Return Σ^{p−1} x^{−p} = (Σ/x)^{p−1}/x, or (Σ/x)^p times the influence; may overwrite x, Σ."""
    if influence is not None:
        assert sigma is not None
        ratio = ops.divide(sigma, x)
        return ops.multiply(integer_power(ratio, power, ops.multiply), influence)
    inverse = ops.reciprocal(x)
    if sigma is None:
        return inverse
    ratio = ops.multiply(sigma, inverse)
    return ops.multiply(integer_power(ratio, power - 1, ops.multiply), inverse)


def logits(
    weighting: type[Weighting],
    x: Any,
    sigma: Any,
    dof: Array,
    log_influence: Sequence[Array],
    ops: Operations,
) -> Array:
    """Return L = −log Σ + log w from x = cρ and Σ; may overwrite both. `dof` is (g, 1, 1).

    With the terms of log a it is log a + log w.
    """
    if log_influence:
        if weighting is Uniform:
            return reduce(add, log_influence)
        robust = log_robust(weighting, ops.multiply(x, 1.0 / sigma), dof, ops)
        return reduce(ops.add, log_influence, robust)
    if weighting is Uniform:
        return ops.multiply(ops.log(sigma), -1.0)
    if weighting is Rational:
        return ops.multiply(ops.log(ops.add(x, sigma)), -1.0)
    robust = log_robust(weighting, ops.multiply(x, 1.0 / sigma), dof, ops)
    return ops.subtract(robust, ops.log(sigma))


def log_robust(weighting: type[Weighting], ratio: Array, dof: Array, ops: Operations) -> Array:
    """Return log w of r = m/(ν_s d), or m/d; may overwrite it. `dof` is (g, 1, 1)."""
    if weighting is Gaussian:
        return ops.multiply(ratio, -1.0)
    return ops.multiply(ops.log1p(ratio), -1.0 if weighting is Rational else -(dof + 1.0))


def log_robust_slope(
    weighting: type[Weighting], ratio: Array, dof: Array, *, xp: Namespace
) -> Array:
    """Return the derivative of log w in r."""
    if weighting is Gaussian:
        return -xp.ones_like(ratio)
    return (-1.0 if weighting is Rational else -(dof + 1.0)) / (1.0 + ratio)
