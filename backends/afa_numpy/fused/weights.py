"""From a row of products to the weights of its pairs (spec §3, §4), and gradients through them.

With ρ the squared residual and r = cρ/Σ, c = 1/(ν_s d), a weight is w(r) times 1/Σ, or the
influence of a correlated key. Where it is an integer power, w = (1 + r)^{−p} is evaluated as such,
in a unit in which it cannot overflow; otherwise through L, relative to the greatest of the row.
"""

from __future__ import annotations

from typing import Any

from afa_numpy.fused.compiled import inlined, log1p_row, log_row
from afa_numpy.fused.rows import DECAYED, DISTANCE, INFLUENCE, KEY2, RATIO, SIGMA, WEIGHT

GAUSSIAN, RATIONAL, STUDENT, UNIFORM = range(4)
"""Numbers of the weightings."""


@inlined
def distance(product: Any, decayed: Any, key2: Any, query2: Any, twice: Any) -> Any:
    """Return cρ = c(‖q‖² + E²‖k‖² − 2E q̃ᵀk̃); `twice` is 2c, and the squares contain c."""
    x = query2 + decayed * (decayed * key2 - twice * product)
    zero = query2 - query2
    return x if x > zero else zero


@inlined
def power_row(
    product: Any, query2: Any, twice: Any, correlated: bool, power: int, unit: Any,
    rows: Any, count: int,
) -> None:  # fmt: skip
    """Write cρ, Σ/x for x = Σ + cρ, and weights: (Σ/x)^p/Σ in a unit, or times the influence."""
    one = product.dtype.type(1)
    exponent = power if correlated else power - 1
    if power == 5 and correlated:  # the default, four degrees of freedom
        for j in range(count):
            rows[DISTANCE, j] = distance(product[j], rows[DECAYED, j], rows[KEY2, j], query2, twice)
            ratio = rows[SIGMA, j] / (rows[SIGMA, j] + rows[DISTANCE, j])
            square = ratio * ratio
            rows[RATIO, j] = ratio
            rows[WEIGHT, j] = rows[INFLUENCE, j] * (square * square) * ratio
        return
    if power == 5:
        for j in range(count):
            rows[DISTANCE, j] = distance(product[j], rows[DECAYED, j], rows[KEY2, j], query2, twice)
            inverse = one / (rows[SIGMA, j] + rows[DISTANCE, j])
            rows[RATIO, j] = rows[SIGMA, j] * inverse
            square = rows[RATIO, j] * rows[RATIO, j]
            rows[WEIGHT, j] = unit * inverse * (square * square)
        return
    for j in range(count):
        rows[DISTANCE, j] = distance(product[j], rows[DECAYED, j], rows[KEY2, j], query2, twice)
        inverse = one / (rows[SIGMA, j] + rows[DISTANCE, j])
        rows[RATIO, j] = rows[SIGMA, j] * inverse
        rows[WEIGHT, j] = unit * inverse
    if correlated:
        for j in range(count):
            rows[WEIGHT, j] = rows[INFLUENCE, j]
    for _ in range(exponent):
        for j in range(count):
            rows[WEIGHT, j] = rows[WEIGHT, j] * rows[RATIO, j]


@inlined
def log_weight_row(
    distance: Any, sigma: Any, influence: Any, correlated: bool, weighting: int, dof: Any,
    ratio: Any, log_robust: Any, logit: Any, spare: Any, bits: Any, count: int,
) -> None:  # fmt: skip
    """Write r = cρ/Σ, log (1 + r), and L: log w − log Σ, or log w + the logarithm of influence."""
    log_prior_row(sigma, influence, correlated, logit, bits, count)
    for j in range(count):
        ratio[j] = distance[j] / sigma[j]
    log1p_ratio_row(ratio, weighting, log_robust, spare, bits, count)
    add_log_robust(ratio, log_robust, weighting, dof, logit, count)


@inlined
def log_prior_row(
    sigma: Any, influence: Any, correlated: bool, logit: Any, bits: Any, count: int
) -> None:
    """Write −log Σ, or the logarithm of influence."""
    if correlated:
        for j in range(count):
            logit[j] = influence[j]
    else:
        log_row(sigma, logit, bits, count)
        for j in range(count):
            logit[j] = -logit[j]


@inlined
def log1p_ratio_row(
    ratio: Any, weighting: int, log_robust: Any, spare: Any, bits: Any, count: int
) -> None:
    """Write log (1 + r) where the weight is a power of 1 + r."""
    if weighting in (RATIONAL, STUDENT):
        log1p_row(ratio, log_robust, spare, bits, count)


@inlined
def add_log_robust(
    ratio: Any, log_robust: Any, weighting: int, dof: Any, logit: Any, count: int
) -> None:
    """Add log w."""
    if weighting == UNIFORM:
        return
    if weighting == GAUSSIAN:
        for j in range(count):
            logit[j] -= ratio[j]
        return
    one = logit.dtype.type(1)
    slope = one if weighting == RATIONAL else one + dof
    for j in range(count):
        logit[j] -= slope * log_robust[j]
