"""Gradients of the pairs of a mode in the diagonal form: in tokens, Σ and log E (spec §3, §5)."""

from __future__ import annotations

from typing import Any

import numpy as np

from afa_numpy.fused.compiled import exp_row, inlined, log1p_row
from afa_numpy.fused.diagonal_rows import (
    DECAYED,
    GRAD_KEY_IMAG,
    GRAD_KEY_REAL,
    GRAD_PRECISION,
    GRAD_QUERY_IMAG,
    GRAD_QUERY_REAL,
    GRAD_RATIO,
    GRAD_TOTAL,
    GRAD_VALUE_IMAG,
    GRAD_VALUE_REAL,
    INVERSE,
    KEY_IMAG,
    KEY_REAL,
    OUTWARD_IMAG,
    OUTWARD_REAL,
    PEAK,
    PRIOR,
    QUERY_IMAG,
    QUERY_REAL,
    RATIO,
    ROBUST,
    ROW_SIGMA,
    VALUE_IMAG,
    VALUE_REAL,
    Work,
)
from afa_numpy.fused.diagonal_weights import logit_row
from afa_numpy.fused.rows import (
    BITS,
    DISTANCE,
    GRAD_LOG_DECAY,
    GRAD_LOG_WEIGHT,
    GRAD_SIGMA,
    LOG_ROBUST,
    SIGMA,
    SPARE,
    WEIGHT,
)
from afa_numpy.fused.rows import RATIO as ROW_RATIO
from afa_numpy.fused.tiles import Head
from afa_numpy.fused.weights import GAUSSIAN, STUDENT, UNIFORM


@inlined
def ratio_grads(flags: Any, head: Head, own: bool, slot: int, work: Work, count: int) -> Any:
    """Write the gradient in r from that in w, or in log w; return the gradient in ν_s."""
    rows, shared, number = work.rows, work.shared, work.rows.dtype.type
    one, by_dof = number(1), number(0)
    if not own:
        for j in range(count):
            shared[slot, GRAD_RATIO, j] *= shared[slot, ROBUST, j]
    exponent = one + number(head.dof) if flags.weighting == STUDENT else one
    exponent = number(head.power) if head.power >= 0 else exponent
    if flags.weighting == STUDENT and head.power < 0:
        for j in range(count):
            rows[ROW_RATIO, j] = shared[slot, RATIO, j]
        bits = rows[BITS].view(np.int32)
        log1p_row(rows[ROW_RATIO], rows[LOG_ROBUST], rows[SPARE], bits, count)
        for j in range(count):
            by_dof -= shared[slot, GRAD_RATIO, j] * rows[LOG_ROBUST, j]
    for j in range(count):
        ratio = shared[slot, RATIO, j]
        slope = exponent if flags.weighting == GAUSSIAN else exponent / (one + ratio)
        shared[slot, GRAD_RATIO, j] *= -slope
    if flags.weighting == GAUSSIAN or flags.weighting == UNIFORM:
        return by_dof
    for j in range(count):  # r contains c = 1/(ν_s d)
        by_dof -= shared[slot, GRAD_RATIO, j] * shared[slot, RATIO, j] / number(head.dof)
    return by_dof


@inlined
def mode_weights(
    flags: Any, head: Head, own: bool, k: int, row: int, slot: int, start: int, work: Work,
    count: int,
) -> None:  # fmt: skip
    """Write the weights of a row of pairs in mode k; L too if modes have peaks of their own."""
    rows, modes, pairs, shared = work
    prior = pairs[k, PRIOR, start:]
    if not own:
        for j in range(count):
            rows[SIGMA, j] = shared[slot, ROBUST, j] * prior[j]
        return
    logit_row(flags, k, slot, start, work, count)
    number = rows.dtype.type
    beta, lowest, peak = number(head.inverse_temperature), number(-np.inf), modes[k, PEAK, row]
    for j in range(count):
        x = rows[WEIGHT, j]
        rows[SPARE, j] = beta * x - peak if x > lowest else lowest
    exp_row(rows[SPARE], rows[SIGMA], rows[DISTANCE], rows[BITS].view(np.int32), count)


@inlined
def carried_grads(k: int, row: int, start: int, work: Work, count: int) -> None:
    """Write the gradients in the logarithm of the weight of mode k, and in log E by its value."""
    rows, modes, pairs, _ = work
    decayed = pairs[k, DECAYED, start:]
    real, imag = modes[k, OUTWARD_REAL, row], modes[k, OUTWARD_IMAG, row]
    total = modes[k, GRAD_TOTAL, row]
    for j in range(count):
        weight = rows[SIGMA, j]
        carried = real * modes[k, VALUE_REAL, j] + imag * modes[k, VALUE_IMAG, j]
        carried = weight * (carried * decayed[j])
        rows[GRAD_LOG_DECAY, j] = carried
        rows[GRAD_LOG_WEIGHT, j] = carried + weight * total


@inlined
def sum_log_weights(slot: int, work: Work, count: int) -> None:
    """Add the gradients in the logarithms of weights to that in log w."""
    for j in range(count):
        work.shared[slot, GRAD_RATIO, j] += work.rows[GRAD_LOG_WEIGHT, j]


@inlined
def add_value_grads(k: int, row: int, start: int, work: Work, count: int) -> None:
    """Add the gradients in the values of mode k."""
    rows, modes, pairs, _ = work
    decayed = pairs[k, DECAYED, start:]
    real, imag = modes[k, OUTWARD_REAL, row], modes[k, OUTWARD_IMAG, row]
    for j in range(count):
        weight = rows[SIGMA, j] * decayed[j]
        modes[k, GRAD_VALUE_REAL, j] += weight * real
        modes[k, GRAD_VALUE_IMAG, j] += weight * imag


@inlined
def through_temperature(flags: Any, head: Head, k: int, row: int, work: Work, count: int) -> Any:
    """Bring the gradients in βL to those in L, to which every exp(L) adds; return that in β."""
    rows, number = work.rows, work.rows.dtype.type
    by_beta, lowest, beta = number(0), number(-np.inf), number(head.inverse_temperature)
    if not flags.has_temperature:
        return by_beta
    direct = work.modes[k, GRAD_PRECISION, row]
    for j in range(count):
        known = rows[WEIGHT, j] if rows[WEIGHT, j] > lowest else number(0)
        by_beta += rows[GRAD_LOG_WEIGHT, j] * known
    for j in range(count):
        untempered = direct * number(np.exp(rows[WEIGHT, j]))
        rows[GRAD_LOG_WEIGHT, j] = beta * rows[GRAD_LOG_WEIGHT, j] + untempered
    return by_beta


@inlined
def add_residual_grads(
    correlated: bool, k: int, row: int, slot: int, start: int, work: Work, count: int
) -> None:
    """Add the gradients in the queries and keys of mode k, and write those in Σ and log E."""
    rows, modes, pairs, shared = work
    decayed, inverse = pairs[k, DECAYED, start:], pairs[k, INVERSE, start:]
    number = rows.dtype.type
    zero, own = number(0), number(0) if correlated else number(1)
    real, imag = modes[k, QUERY_REAL, row], modes[k, QUERY_IMAG, row]
    by_real, by_imag, by_sigma, two = zero, zero, zero, number(2)
    for j in range(count):
        e, precision = decayed[j], inverse[j]
        key_real, key_imag = modes[k, KEY_REAL, j], modes[k, KEY_IMAG, j]
        x, y = real - e * key_real, imag - e * key_imag
        by_distance = precision * shared[slot, GRAD_RATIO, j]
        square = x * x + y * y
        through = by_distance * square + own * rows[GRAD_LOG_WEIGHT, j]
        sigma = -precision * through
        rows[GRAD_SIGMA, j] = sigma
        by_sigma += sigma
        x, y = by_distance * x, by_distance * y
        by_real += x
        by_imag += y
        modes[k, GRAD_KEY_REAL, j] += e * x
        modes[k, GRAD_KEY_IMAG, j] += e * y
        rows[GRAD_LOG_DECAY, j] -= two * e * (x * key_real + y * key_imag)
    modes[k, GRAD_QUERY_REAL, row] += by_real
    modes[k, GRAD_QUERY_IMAG, row] += by_imag
    modes[k, ROW_SIGMA, row] += by_sigma
