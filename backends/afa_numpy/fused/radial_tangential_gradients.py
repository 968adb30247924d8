"""From gradients in the weights of both components to those in cρ_s, Σ_s, E and products."""

from __future__ import annotations

from typing import Any

from afa_numpy.fused.compiled import inlined
from afa_numpy.fused.gradients import (
    OfQuery,
    RowSums,
    exponent_of,
    logit_weight_grads,
    weight_grads,
)
from afa_numpy.fused.radial_tangential import Components, T
from afa_numpy.fused.rows import (
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
    SUM_SQUARE,
    WEIGHT,
)
from afa_numpy.fused.tiles import Head
from afa_numpy.fused.weights import GAUSSIAN, STUDENT


@inlined
def pair_grads(
    real: Any, imag: Any, by_radial: Any, by_tangential: Any, length: Any, flags: Any,
    both: Components, of_queries: tuple[OfQuery, OfQuery], count: int,
) -> tuple[Any, Any, Any]:  # fmt: skip
    """Write the gradients of a row; return those in √c‖q‖, in the exponent and in β.

    Overwrites the products with u and with i u by the gradients in them, and gradients in the
    row's E ṽ by the weights of the values, E times the weights over Z.
    """
    head, rows, by_beta = both.radial.head, both.rows, real.dtype.type(0)
    of_radial, of_tangential = of_queries
    if head.power >= 0:
        weight_grads(by_radial, of_radial, both.radial.rows, count)
        weight_grads(by_tangential, of_tangential, both.tangential.rows, count)
    else:
        by_beta += logit_weight_grads(
            by_radial, flags, head, of_radial, both.radial.rows, count
        ) + logit_weight_grads(
            by_tangential, flags, head, of_tangential, both.tangential.rows, count
        )
    by_dof = ratio_grads(flags, head, rows, count)
    by_length = residual_grads(real, imag, length, rows, count)
    value_grads(by_radial, of_radial, both.radial, count)
    value_grads(by_tangential, of_tangential, both.tangential, count)
    return by_length, by_dof, by_beta


@inlined
def ratio_grads(flags: Any, head: Head, rows: Any, count: int) -> Any:
    """Write the gradients in cρ_s and Σ_s through r and the prior; return that in ν_s.

    Rows of Σ_s hold 1/Σ_s.
    """
    number = rows.dtype.type
    one, dof, by_dof = number(1), number(head.dof), number(0)
    exponent = number(head.power) if head.power >= 0 else exponent_of(flags, dof)
    own = number(0) if flags.directions else one
    for j in range(count):
        radial, tangential = rows[GRAD_LOG_WEIGHT, j], rows[T + GRAD_LOG_WEIGHT, j]
        ratio = rows[RATIO, j]
        slope = exponent if flags.weighting == GAUSSIAN else exponent / (one + ratio)
        by_ratio = -slope * (radial + tangential)
        by_dof -= by_ratio * ratio / dof
        per_radial, per_tangential = rows[SIGMA, j], rows[T + SIGMA, j]
        by_radial, by_tangential = by_ratio * per_radial, by_ratio * per_tangential
        rows[GRAD_DISTANCE, j], rows[T + GRAD_DISTANCE, j] = by_radial, by_tangential
        rows[GRAD_SIGMA, j] = -per_radial * (own * radial + by_radial * rows[DISTANCE, j])
        rows[T + GRAD_SIGMA, j] = -per_tangential * (
            own * tangential + by_tangential * rows[T + DISTANCE, j]
        )
    if flags.weighting == GAUSSIAN:  # whose c has no ν_s
        return number(0)
    if flags.weighting == STUDENT and head.power < 0:
        for j in range(count):
            grad = rows[GRAD_LOG_WEIGHT, j] + rows[T + GRAD_LOG_WEIGHT, j]
            by_dof -= grad * rows[LOG_ROBUST, j]
    return by_dof


@inlined
def residual_grads(real: Any, imag: Any, length: Any, rows: Any, count: int) -> Any:
    """Write the gradients in both products and in log E through cρ_s; return that in √c‖q‖."""
    zero, two, by_length = rows.dtype.type(0), rows.dtype.type(2), rows.dtype.type(0)
    for j in range(count):
        e, radial = rows[DECAYED, j], rows[GRAD_DISTANCE, j]
        across = rows[T + GRAD_DISTANCE, j] if rows[T + DISTANCE, j] > zero else zero
        p, b = e * real[j], e * imag[j]
        by_along, square = two * (p - length) * radial, e * e * across
        by_length -= by_along
        grad_real, grad_imag = by_along - two * p * across, two * b * (radial - across)
        rows[GRAD_LOG_DECAY, j] = p * grad_real + b * grad_imag
        rows[T + GRAD_LOG_DECAY, j] = two * square * rows[KEY2, j]
        rows[T + SUM_SQUARE, j] += square
        real[j], imag[j] = e * grad_real, e * grad_imag
    return by_length


@inlined
def value_grads(value_grad: Any, query: OfQuery, of: Any, count: int) -> None:
    """Add the gradients in log E through values, and write the weights of the values."""
    rows, inverse = of.rows, query.inverse_total
    for j in range(count):
        e = rows[DECAYED, j]
        weight = rows[WEIGHT, j] * e * inverse
        rows[GRAD_LOG_DECAY, j] += weight * value_grad[j]
        value_grad[j] = weight


@inlined
def component_sums(rows: Any, count: int) -> RowSums:
    """Return the gradients of a component summed over the pairs of a query."""
    zero = rows.dtype.type(0)
    log_weight, sigma, log_decay = zero, zero, zero
    for j in range(count):
        log_weight += rows[GRAD_LOG_WEIGHT, j]
        sigma += rows[GRAD_SIGMA, j]
        log_decay += rows[GRAD_LOG_DECAY, j]
    return RowSums(log_weight, zero, sigma, log_decay, zero, zero)
