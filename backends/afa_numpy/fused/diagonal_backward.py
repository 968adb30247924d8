"""The backward of a block of queries in the diagonal form: tiles are evaluated again (spec §9)."""

from __future__ import annotations

from typing import Any

import numpy as np

from afa_numpy.fused.compiled import compiled, compiled_block, inlined
from afa_numpy.fused.diagonal_gradients import (
    add_residual_grads,
    add_value_grads,
    carried_grads,
    mode_weights,
    ratio_grads,
    sum_log_weights,
    through_temperature,
)
from afa_numpy.fused.diagonal_lag_gradients import add_lag_grads, add_level_grads, add_row_lags
from afa_numpy.fused.diagonal_pairs import (
    carry_tile,
    equal_noise,
    fill_pairs,
    own_peaks,
)
from afa_numpy.fused.diagonal_rows import (
    GRAD_KEY_REAL,
    GRAD_PRECISION,
    GRAD_QUERY_REAL,
    GRAD_TOTAL,
    GRAD_VALUE_REAL,
    MODE_ROWS,
    OUTWARD_IMAG,
    OUTWARD_REAL,
    PEAK,
    QUERY_REAL,
    ROWS,
    Work,
    add_tokens,
    clear,
    load_tokens,
    new_work,
)
from afa_numpy.fused.diagonal_weights import add_grad, add_ratio, clear_row, weigh_row
from afa_numpy.fused.lag_gradients import DOF, INVERSE_TEMPERATURE, Gradients
from afa_numpy.fused.tiles import Extent, Head, all_keys, count_of, head_of, next_tile

RATIOS, LOG_WEIGHTS, GRADIENTS = range(3)
"""Steps of a tile."""


@compiled_block
def backward_block(
    arrays: Any, flags: Any, prepared: Any, results: Any, given: Any, found: Gradients,
    part: int, h: int, i0: int, i1: int,
) -> None:  # fmt: skip
    """Add the gradients through queries i0 to i1 of head h."""
    like, modes = results[0], arrays.process.shape[1]
    head, work = head_of(arrays, flags, prepared[1], h), new_work(like, modes)
    log_total = np.empty((i1 - i0, prepared[3].shape[3]))
    peaks = np.empty((i1 - i0, 2), like.dtype)
    begin_queries(arrays, flags, head, results, given, work, log_total, peaks, found, part, h, i0)
    tabled = flags.regular and equal_noise(arrays.query_noise[h, i0:i1])
    scale, left = like.dtype.type(np.sqrt(head.scale)), np.empty(4, np.int64)
    all_keys(arrays, i0, i1, left)
    while True:
        j0, j1, order = next_tile(arrays, flags, prepared[3], h, i0, i1, log_total, left)
        if j0 == j1:
            break
        extent = carry_tile(arrays, flags, head, tabled, (h, i0, i1, j0, j1, order), work)
        clear(work.modes, GRAD_KEY_REAL, MODE_ROWS)
        backward_tile(arrays, flags, head, tabled, extent, work, peaks, found, part)
        add_lag_grads(arrays, flags, tabled, extent, work, found, part)
        minus_two = like.dtype.type(-2)
        add_tokens(work.modes, GRAD_KEY_REAL, minus_two * scale, found.key[part, h, j0:j1])
        add_tokens(work.modes, GRAD_VALUE_REAL, like.dtype.type(1), found.value[part, h, j0:j1])
    add_tokens(work.modes, GRAD_QUERY_REAL, like.dtype.type(2) * scale, found.query[h, i0:i1])


@compiled
def begin_queries(
    arrays: Any, flags: Any, head: Head, results: Any, given: Any, work: Work, log_total: Any,
    peaks: Any, found: Gradients, part: int, h: int, i0: int,
) -> None:  # fmt: skip
    """Write what the gradients of the weights of a block of queries are computed from."""
    modes, number = work.modes, work.modes.dtype.type
    i1, own = i0 + log_total.shape[0], own_peaks(flags, head)
    load_tokens(arrays.query[h, i0:i1], number(np.sqrt(head.scale)), modes, QUERY_REAL)
    for i in range(i1 - i0):
        highest = number(-np.inf)
        for k in range(modes.shape[0]):
            highest = max(highest, results[2][h, i0 + i, k])
        peaks[i, 0] = number(0) if head.power >= 0 else highest
        for k in range(modes.shape[0]):
            log_total[i, k] = begin_mode(flags, own, results, given, modes, peaks[i], h, i0, i, k)
            if flags.has_temperature:
                log_total[i, modes.shape[0] + k] = np.log(results[1][h, i0 + i, k])
            if arrays.missing.shape[1]:
                missing = arrays.missing[h, i0 + i, k]
                prior_mean(missing, flags, head, modes, found, part, h, i0, i, k)


@inlined
def begin_mode(
    flags: Any, own: bool, results: Any, given: Any, modes: Any, peaks: Any, h: int, i0: int,
    i: int, k: int,
) -> Any:  # fmt: skip
    """Write the gradients in the sums of a query's mode; return the logarithm of its weight."""
    number, count, place = modes.dtype.type, modes.shape[0], i0 + i
    peak, total, mean, outward = results[2][h, place, k], results[3][h, place, k], 0.0, given[0]
    log_total, zero = peak + np.log(total), number(0)
    if not own:  # a merged result may have a peak for each mode
        total = total * number(np.exp(peak - peaks[0])) if peak > -np.inf else zero
        peak = peaks[0]
    inverse = number(1) / total if total > zero else zero
    real, imag = outward[h, place, k] * inverse, outward[h, place, count + k] * inverse
    mean = real * results[0][h, place, k] + imag * results[0][h, place, count + k]
    grad_precision = given[1][h, place, k]
    direct = zero if flags.has_temperature else grad_precision * number(np.exp(peak))
    modes[k, OUTWARD_REAL, i], modes[k, OUTWARD_IMAG, i] = real, imag
    modes[k, GRAD_TOTAL, i] = direct - mean
    modes[k, GRAD_PRECISION, i] = grad_precision if flags.has_temperature else zero
    modes[k, PEAK, i] = peak if peak > -np.inf else zero
    return log_total


@inlined
def prior_mean(
    missing: float, flags: Any, head: Head, modes: Any, found: Gradients, part: int, h: int,
    i0: int, i: int, k: int,
) -> None:  # fmt: skip
    """Add the gradients through the weight of the prior's mean, whose value is zero."""
    if missing == -np.inf:
        return
    beta = head.inverse_temperature if flags.has_temperature else 1.0
    by_weight = np.exp(beta * missing - modes[k, PEAK, i]) * modes[k, GRAD_TOTAL, i]
    direct = modes[k, GRAD_PRECISION, i] * np.exp(missing)
    found.missing[h, i0 + i, k] += beta * by_weight + direct
    if flags.has_temperature:
        found.parameters[part, h, INVERSE_TEMPERATURE, 0] += by_weight * missing


@compiled
def backward_tile(
    arrays: Any, flags: Any, head: Head, tabled: bool, extent: Extent, work: Work, peaks: Any,
    found: Gradients, part: int,
) -> None:  # fmt: skip
    """Add the gradients through the pairs of a tile, in passes over all modes."""
    i0, i1 = extent.rows
    parameters = found.parameters[part, extent.head, :, 0]
    for first in range(i0, i1, ROWS):
        last = min(first + ROWS, i1)
        for step in range(RATIOS, GRADIENTS + 1):
            if step == LOG_WEIGHTS and not own_peaks(flags, head):
                continue
            for i in range(first, last):
                count = count_of(arrays, flags, extent, i)
                if step == RATIOS:
                    clear_row(work, i - first)
                elif step == GRADIENTS:
                    own = own_peaks(flags, head)
                    parameters[DOF] += ratio_grads(flags, head, own, i - first, work, count)
            pass_over_modes(
                arrays, flags, head, tabled, extent, step, (first, last), work, found, part
            )  # fmt: skip
            if step == RATIOS:
                for i in range(first, last):
                    count, row = count_of(arrays, flags, extent, i), i - i0
                    weigh_row(
                        arrays, flags, head, extent, i, i - first, work, peaks[row], count
                    )  # fmt: skip


@inlined
def pass_over_modes(
    arrays: Any, flags: Any, head: Head, tabled: bool, extent: Extent, step: int, some: Any,
    work: Work, found: Gradients, part: int,
) -> None:  # fmt: skip
    """Take a step for some queries in every mode.

    First the shares in r and, where modes have a peak in common, the gradient in w. Otherwise that
    is summed in a step of its own. Gradients of pairs follow once that in r is known.
    """
    own, i0, (first, last) = own_peaks(flags, head), extent.rows[0], some
    for k in range(work.modes.shape[0]):
        for i in range(first, last):
            row, slot, count = i - i0, i - first, count_of(arrays, flags, extent, i)
            start = fill_pairs(arrays, flags, own, tabled, extent, k, i, work, count)
            if step == RATIOS:
                add_ratio(work, k, row, slot, start, count)
                if not own:
                    add_grad(work, k, row, slot, start, count)
                continue
            mode_weights(flags, head, own, k, row, slot, start, work, count)
            carried_grads(k, row, start, work, count)
            by_beta = through_temperature(flags, head, k, row, work, count)
            if step == LOG_WEIGHTS:
                found.parameters[part, extent.head, INVERSE_TEMPERATURE, 0] += by_beta
                sum_log_weights(slot, work, count)
                continue
            add_value_grads(k, row, start, work, count)
            add_residual_grads(flags.directions > 0, k, row, slot, start, work, count)
            add_row_lags(arrays, flags, tabled, extent, k, i, slot, start, work, found, part, count)
            if flags.directions:
                add_level_grads(arrays, flags, extent, k, i, work, count)
