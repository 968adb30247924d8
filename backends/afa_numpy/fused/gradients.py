"""From gradients in the weights of a row of pairs to those in its cρ, Σ and E (spec §3, §4)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from afa_numpy.fused.compiled import exp_row, inlined
from afa_numpy.fused.rows import (
    BITS,
    DECAYED,
    DISTANCE,
    GRAD_DISTANCE,
    GRAD_LOG_DECAY,
    GRAD_LOG_WEIGHT,
    GRAD_SIGMA,
    KEY2,
    LOG_ROBUST,
    RATIO,
    SIGMA,
    SPARE,
    WEIGHT,
)
from afa_numpy.fused.tiles import Head
from afa_numpy.fused.weights import GAUSSIAN, STUDENT, UNIFORM


class OfQuery(NamedTuple):
    """What the gradients of a query's weights are computed from."""

    peak: Any
    inverse_total: Any  # 1/Z
    grad_total: Any  # of every weight, through Z
    grad_precision: Any  # of every exp(L), where β is not 1


class RowSums(NamedTuple):
    """Gradients summed over the pairs of a query."""

    log_weight: Any
    distance: Any
    sigma: Any
    log_decay: Any  # but for those in Σ through E
    dof: float
    inverse_temperature: float


@inlined
def weight_grads(value_grad: Any, query: OfQuery, rows: Any, count: int) -> None:
    """Write the gradients in the logarithms of weights; `value_grad` is that in the row's E ṽ."""
    inverse, total = query.inverse_total, query.grad_total
    for j in range(count):
        rows[GRAD_LOG_WEIGHT, j] = rows[WEIGHT, j] * (
            rows[DECAYED, j] * value_grad[j] * inverse + total
        )


@inlined
def power_grads(
    value_grad: Any, correlated: bool, head: Head, query: OfQuery, rows: Any, count: int,
) -> None:  # fmt: skip
    """Write the gradients through (1 + r)^{−p}."""
    number = value_grad.dtype.type
    power, sigma_power = number(head.power), number(head.power if correlated else head.power - 1)
    weight_grads(value_grad, query, rows, count)
    for j in range(count):
        rows[GRAD_DISTANCE, j] = (
            -power * rows[GRAD_LOG_WEIGHT, j] / (rows[SIGMA, j] + rows[DISTANCE, j])
        )
    if sigma_power > number(0):
        for j in range(count):
            direct = sigma_power * rows[GRAD_LOG_WEIGHT, j] / rows[SIGMA, j]
            rows[GRAD_SIGMA, j] = direct + rows[GRAD_DISTANCE, j]
    else:
        for j in range(count):
            rows[GRAD_SIGMA, j] = rows[GRAD_DISTANCE, j]


@inlined
def logit_weight_grads(
    value_grad: Any, flags: Any, head: Head, query: OfQuery, rows: Any, count: int,
) -> Any:  # fmt: skip
    """Write the weights over L, and the gradients in L; return that in β."""
    number = value_grad.dtype.type
    beta, lowest, by_beta = number(head.inverse_temperature), number(-np.inf), number(0)
    shift = query.peak if query.peak > lowest else number(0)
    for j in range(count):
        rows[SPARE, j] = beta * rows[WEIGHT, j] - shift if rows[WEIGHT, j] > lowest else lowest
    exp_row(rows[SPARE], rows[GRAD_SIGMA], rows[GRAD_DISTANCE], rows[BITS].view(np.int32), count)
    for j in range(count):
        through = rows[DECAYED, j] * value_grad[j] * query.inverse_total
        rows[GRAD_LOG_WEIGHT, j] = rows[GRAD_SIGMA, j] * (through + query.grad_total)
    if flags.has_temperature:
        for j in range(count):
            by_beta += rows[GRAD_LOG_WEIGHT, j] * (
                rows[WEIGHT, j] if rows[WEIGHT, j] > lowest else number(0)
            )
            direct = query.grad_precision * number(np.exp(rows[WEIGHT, j]))
            rows[GRAD_LOG_WEIGHT, j] = beta * rows[GRAD_LOG_WEIGHT, j] + direct
    for j in range(count):
        rows[WEIGHT, j] = rows[GRAD_SIGMA, j]
    return by_beta


@inlined
def exponent_of(flags: Any, dof: Any) -> Any:
    """Return the p of weights that take a logarithm, (1 + r)^{−p} or e^{−pr}."""
    one = dof / dof
    exponent = dof - dof if flags.weighting == UNIFORM else one
    return one + dof if flags.weighting == STUDENT else exponent


@inlined
def logit_grads(
    value_grad: Any, flags: Any, head: Head, query: OfQuery, rows: Any, count: int,
) -> tuple[float, float]:  # fmt: skip
    """Write the weights and the gradients through L; return those in the exponent and in β."""
    number = value_grad.dtype.type
    by_beta = logit_weight_grads(value_grad, flags, head, query, rows, count)
    one, by_dof, exponent = number(1), number(0), exponent_of(flags, number(head.dof))
    own = number(0) if flags.directions else one
    for j in range(count):
        ratio = rows[RATIO, j]
        slope = exponent if flags.weighting == GAUSSIAN else exponent / (one + ratio)
        by_ratio = -slope * rows[GRAD_LOG_WEIGHT, j] / rows[SIGMA, j]
        rows[GRAD_DISTANCE, j] = by_ratio
        rows[GRAD_SIGMA, j] = -by_ratio * ratio - own * rows[GRAD_LOG_WEIGHT, j] / rows[SIGMA, j]
    if flags.weighting == STUDENT:
        for j in range(count):
            by_dof -= rows[GRAD_LOG_WEIGHT, j] * rows[LOG_ROBUST, j]
    return by_dof, by_beta


@inlined
def pair_grads(
    product: Any, value_grad: Any, flags: Any, head: Head, query: OfQuery, rows: Any, count: int,
) -> RowSums:  # fmt: skip
    """Write the gradients of a row and return their sums.

    Overwrites the products of query and keys by the gradients in q̃ of the keys, −2cE times those
    in cρ, and `value_grad` by the weights of the values, E times the weights over Z.
    """
    number = product.dtype.type
    by_dof, by_beta = number(0), number(0)
    if head.power >= 0:
        power_grads(value_grad, flags.directions > 0, head, query, rows, count)
    else:
        by_dof, by_beta = logit_grads(value_grad, flags, head, query, rows, count)
    twice, two, inverse = number(2.0 * head.scale), number(2), query.inverse_total
    for j in range(count):
        e = rows[DECAYED, j]
        weight = rows[WEIGHT, j] * e * inverse
        by_distance = two * e * e * rows[KEY2, j] - twice * e * product[j]
        rows[GRAD_LOG_DECAY, j] = weight * value_grad[j] + rows[GRAD_DISTANCE, j] * by_distance
        value_grad[j] = weight
    for j in range(count):
        product[j] = -twice * rows[DECAYED, j] * rows[GRAD_DISTANCE, j]
    zero = number(0)
    log_weight, distance, sigma, log_decay = zero, zero, zero, zero
    for j in range(count):
        log_weight += rows[GRAD_LOG_WEIGHT, j]
        distance += rows[GRAD_DISTANCE, j]
        sigma += rows[GRAD_SIGMA, j]
        log_decay += rows[GRAD_LOG_DECAY, j]
    if flags.weighting != GAUSSIAN and head.power < 2:  # greater ones are numbers
        for j in range(count):
            by_dof -= rows[GRAD_DISTANCE, j] * rows[DISTANCE, j] / number(head.dof)
    return RowSums(log_weight, distance, sigma, log_decay, by_dof, by_beta)
