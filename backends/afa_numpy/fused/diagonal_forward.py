"""The forward of a block of queries in the diagonal form: each mode has a sum of weights (spec §5).

The weight of key j in mode k is w(r_ij)/Σ_kij, or w(r_ij) times the influence of a correlated key.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from afa_numpy.fused.compiled import compiled, compiled_block, inlined
from afa_numpy.fused.diagonal_pairs import (
    carry_tile,
    equal_noise,
    fill_pairs,
    own_peaks,
)
from afa_numpy.fused.diagonal_rows import (
    DECAYED,
    PRIOR,
    QUERY_REAL,
    ROBUST,
    ROWS,
    VALUE_IMAG,
    VALUE_REAL,
    Work,
    load_tokens,
    new_work,
)
from afa_numpy.fused.diagonal_weights import add_ratio, clear_row, logit_row, weigh_row
from afa_numpy.fused.forward import add_logits
from afa_numpy.fused.rows import LOG_ROBUST
from afa_numpy.fused.tiles import Extent, Head, all_keys, count_of, head_of, next_tile


class Sums(NamedTuple):
    """Sums over the keys so far, of a block of queries, mode by mode."""

    weights: Any  # the peak, and the sum of weights relative to it, (d, n, 2)
    untempered: Any  # the same at β = 1
    carried: Any  # Σ weight E ṽ, (d, n, 2)
    common: Any  # the peak of w, where all modes have one in common, (n, 2)
    log_total: Any  # the logarithms of the sums of weights, see `next_tile`


@compiled_block
def forward_block(
    arrays: Any, flags: Any, prepared: Any, h: int, i0: int, i1: int, results: Any
) -> int:
    """Write the results of queries i0 to i1 of head h; return how many pairs its tiles have."""
    like, queries, modes, visited = results[0], i1 - i0, arrays.process.shape[1], 0
    head, work = head_of(arrays, flags, prepared[1], h), new_work(like, modes)
    sums = Sums(
        np.empty((modes, queries, 2), like.dtype),
        np.empty((modes, queries, 2), like.dtype),
        np.zeros((modes, queries, 2), like.dtype),
        np.empty((queries, 2), like.dtype),
        np.empty((queries, prepared[3].shape[3]), np.float64),
    )
    start_sums(arrays, flags, head, h, i0, sums)
    scale = like.dtype.type(np.sqrt(head.scale))
    load_tokens(arrays.query[h, i0:i1], scale, work.modes, QUERY_REAL)
    tabled = flags.regular and equal_noise(arrays.query_noise[h, i0:i1])
    left = np.empty(4, np.int64)
    all_keys(arrays, i0, i1, left)
    while True:
        j0, j1, order = next_tile(arrays, flags, prepared[3], h, i0, i1, sums.log_total, left)
        if j0 == j1:
            break
        extent = carry_tile(arrays, flags, head, tabled, (h, i0, i1, j0, j1, order), work)
        weigh_tile(arrays, flags, head, tabled, extent, work, sums)
        if flags.tolerance > 0.0:
            log_totals(own_peaks(flags, head), sums)
        visited += queries * (j1 - j0)
    finish_queries(flags, head, sums, results, h, i0)
    return visited


@compiled
def start_sums(arrays: Any, flags: Any, head: Head, h: int, i0: int, sums: Sums) -> None:
    """Write the peaks and sums over no key but the prior's mean, whose value is zero."""
    number, own, beta = sums.carried.dtype.type, own_peaks(flags, head), head.inverse_temperature
    zero, one, lowest = number(0), number(1), number(-np.inf)
    for i in range(sums.common.shape[0]):
        sums.common[i, 0] = zero if head.power >= 0 else lowest
        sums.common[i, 1] = zero
        for k in range(sums.weights.shape[0]):
            missing = arrays.missing[h, i0 + i, k] if arrays.missing.shape[1] else -np.inf
            there = missing > -np.inf
            sums.untempered[k, i, 0] = number(missing)
            sums.untempered[k, i, 1] = one if there else zero
            if own:
                sums.weights[k, i, 0] = number(beta * missing) if there else lowest
                sums.weights[k, i, 1] = one if there else zero
            else:
                sums.weights[k, i, 0] = sums.common[i, 0]
                sums.weights[k, i, 1] = number(np.exp(missing))
    log_totals(own, sums)


@compiled
def log_totals(own: bool, sums: Sums) -> None:
    """Write the logarithms of the weights so far, at β and without it if there are two."""
    modes = sums.weights.shape[0]
    for i in range(sums.common.shape[0]):
        for k in range(modes):
            peak = sums.weights[k, i, 0] if own else sums.common[i, 0]
            sums.log_total[i, k] = peak + np.log(sums.weights[k, i, 1])
        for total in range(modes, sums.log_total.shape[1]):
            untempered = sums.untempered[total - modes, i]
            sums.log_total[i, total] = untempered[0] + np.log(untempered[1])


@compiled
def weigh_tile(
    arrays: Any, flags: Any, head: Head, tabled: bool, extent: Extent, work: Work, sums: Sums
) -> None:
    """Add the weights of a tile and what they carry to their sums, in two passes over modes."""
    i0, i1 = extent.rows
    for first in range(i0, i1, ROWS):
        last = min(first + ROWS, i1)
        for weighed in range(2):
            for i in range(first, last):
                count, common = count_of(arrays, flags, extent, i), sums.common[i - i0]
                if not weighed:
                    clear_row(work, i - first)
                    continue
                shrink = weigh_row(
                    arrays, flags, head, extent, i, i - first, work, common, count
                )  # fmt: skip
                if shrink < work.modes.dtype.type(1):
                    _shrink(sums, i - i0, shrink)
            _pass_over_modes(
                arrays, flags, head, tabled, extent, weighed, (first, last), work, sums
            )  # fmt: skip


@inlined
def _pass_over_modes(
    arrays: Any, flags: Any, head: Head, tabled: bool, extent: Extent, weighed: int, some: Any,
    work: Work, sums: Sums,
) -> None:  # fmt: skip
    """Add the shares of some queries in r or, once their w is known, their weights."""
    own, i0, (first, last) = own_peaks(flags, head), extent.rows[0], some
    for k in range(work.modes.shape[0]):
        for i in range(first, last):
            row, slot, count = i - i0, i - first, count_of(arrays, flags, extent, i)
            start = fill_pairs(arrays, flags, own, tabled, extent, k, i, work, count)
            if not weighed:
                add_ratio(work, k, row, slot, start, count)
            elif own:
                _add_logits(flags, head, k, row, slot, start, work, sums, count)
            else:
                _add_weights(k, row, slot, start, work, sums, count)


@inlined
def _shrink(sums: Sums, row: int, shrink: Any) -> None:
    """Bring the sums of a query to a higher peak of w."""
    for k in range(sums.weights.shape[0]):
        sums.weights[k, row, 1] *= shrink
        sums.carried[k, row, 0] *= shrink
        sums.carried[k, row, 1] *= shrink


@inlined
def _add_weights(
    k: int, row: int, slot: int, start: int, work: Work, sums: Sums, count: int
) -> None:
    """Add the weights of a row of pairs in mode k, and what they carry."""
    _, modes, pairs, shared = work
    decayed, prior = pairs[k, DECAYED, start:], pairs[k, PRIOR, start:]
    zero = modes.dtype.type(0)
    total, real, imag = zero, zero, zero
    for j in range(count):
        weight = shared[slot, ROBUST, j] * prior[j]
        total += weight
        weight *= decayed[j]
        real += weight * modes[k, VALUE_REAL, j]
        imag += weight * modes[k, VALUE_IMAG, j]
    sums.weights[k, row, 1] += total
    sums.carried[k, row, 0] += real
    sums.carried[k, row, 1] += imag


@inlined
def _add_logits(
    flags: Any, head: Head, k: int, row: int, slot: int, start: int, work: Work, sums: Sums,
    count: int,
) -> None:  # fmt: skip
    """Add the same by logarithms, relative to the peak of mode k."""
    rows, modes, pairs, _ = work
    decayed = pairs[k, DECAYED, start:]
    number = rows.dtype.type
    logit_row(flags, k, slot, start, work, count)
    if flags.has_temperature:
        add_logits(number(1), rows, sums.untempered[k, row], count)
    beta = number(head.inverse_temperature)
    shrink = add_logits(beta, rows, sums.weights[k, row], count)
    real, imag = number(0), number(0)
    for j in range(count):
        weight = rows[LOG_ROBUST, j] * decayed[j]
        real += weight * modes[k, VALUE_REAL, j]
        imag += weight * modes[k, VALUE_IMAG, j]
    sums.carried[k, row, 0] = shrink * sums.carried[k, row, 0] + real
    sums.carried[k, row, 1] = shrink * sums.carried[k, row, 1] + imag


@compiled
def finish_queries(flags: Any, head: Head, sums: Sums, results: Any, h: int, i0: int) -> None:
    """Write the results of a block of queries."""
    mean, precision, peak, total = results
    number, own, modes = mean.dtype.type, own_peaks(flags, head), sums.weights.shape[0]
    for i in range(sums.common.shape[0]):
        place = i0 + i
        for k in range(modes):
            high, weight = sums.weights[k, i]
            high = high if own else sums.common[i, 0]
            peak[h, place, k], total[h, place, k] = high, weight
            inverse = number(1) / weight if weight > number(0) else number(0)
            mean[h, place, k] = sums.carried[k, i, 0] * inverse
            mean[h, place, modes + k] = sums.carried[k, i, 1] * inverse
            if flags.has_temperature:
                high, weight = sums.untempered[k, i]
            there = weight > number(0)
            precision[h, place, k] = weight * number(np.exp(high)) if there else number(0)
