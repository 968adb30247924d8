"""Robust weights of the diagonal form: w(r) of r = Σ_k cρ_k/Σ_k, common to all modes (spec §5)."""

from __future__ import annotations

from typing import Any

import numpy as np

from afa_numpy.fused.compiled import inlined, log1p_row, log_row
from afa_numpy.fused.diagonal_pairs import own_peaks
from afa_numpy.fused.diagonal_rows import (
    DECAYED,
    GRAD_RATIO,
    GRAD_TOTAL,
    INVERSE,
    KEY_IMAG,
    KEY_REAL,
    OUTWARD_IMAG,
    OUTWARD_REAL,
    PRIOR,
    QUERY_IMAG,
    QUERY_REAL,
    RATIO,
    ROBUST,
    VALUE_IMAG,
    VALUE_REAL,
    Work,
)
from afa_numpy.fused.forward import add_logits, hide
from afa_numpy.fused.rows import BITS, LOG_ROBUST, SPARE, WEIGHT
from afa_numpy.fused.rows import RATIO as ROW_RATIO
from afa_numpy.fused.tiles import Extent, Head
from afa_numpy.fused.weights import GAUSSIAN, RATIONAL, UNIFORM


@inlined
def clear_row(work: Work, slot: int) -> None:
    """Set r and the gradients through w of the keys of a query to zero."""
    shared = work.shared
    for row in range(shared.shape[1]):
        for j in range(shared.shape[2]):
            shared[slot, row, j] = shared.dtype.type(0)


@inlined
def add_ratio(work: Work, k: int, row: int, slot: int, start: int, count: int) -> None:
    """Add cρ_k/Σ_k of mode k to r of a row of pairs."""
    _, modes, pairs, shared = work
    decayed, inverse = pairs[k, DECAYED, start:], pairs[k, INVERSE, start:]
    real, imag = modes[k, QUERY_REAL, row], modes[k, QUERY_IMAG, row]
    for j in range(count):
        e = decayed[j]
        x = real - e * modes[k, KEY_REAL, j]
        y = imag - e * modes[k, KEY_IMAG, j]
        shared[slot, RATIO, j] += (x * x + y * y) * inverse[j]


@inlined
def add_grad(work: Work, k: int, row: int, slot: int, start: int, count: int) -> None:
    """Add to the gradient in w of a row of pairs that through the weight of mode k."""
    _, modes, pairs, shared = work
    decayed, prior = pairs[k, DECAYED, start:], pairs[k, PRIOR, start:]
    along, across = modes[k, OUTWARD_REAL, row], modes[k, OUTWARD_IMAG, row]
    total = modes[k, GRAD_TOTAL, row]
    for j in range(count):
        carried = along * modes[k, VALUE_REAL, j] + across * modes[k, VALUE_IMAG, j]
        shared[slot, GRAD_RATIO, j] += prior[j] * (decayed[j] * carried + total)


@inlined
def weigh_row(
    arrays: Any, flags: Any, head: Head, extent: Extent, i: int, slot: int, work: Work,
    common: Any, count: int,
) -> Any:  # fmt: skip
    """Write w, or log w where modes have peaks of their own, of a row of r.

    Return what shrinks the sums of earlier tiles, relative to a lower peak in `common`.
    """
    rows, shared, number = work.rows, work.shared, work.rows.dtype.type
    one = number(1)
    if head.power >= 0:
        for j in range(count):
            rows[SPARE, j] = one / (one + shared[slot, RATIO, j])
            rows[WEIGHT, j] = one
        for _ in range(head.power if flags.weighting != UNIFORM else 0):
            for j in range(count):
                rows[WEIGHT, j] *= rows[SPARE, j]
        hide(rows[WEIGHT], arrays.mask, extent, i, count, count, number(0))
        for j in range(count):
            shared[slot, ROBUST, j] = rows[WEIGHT, j]
        return one
    log_robust_row(flags, head, slot, work, count)
    hide(rows[WEIGHT], arrays.mask, extent, i, count, count, number(-np.inf))
    if own_peaks(flags, head):
        for j in range(count):
            shared[slot, ROBUST, j] = rows[WEIGHT, j]
        return one
    shrink = add_logits(one, rows, common, count)
    for j in range(count):
        shared[slot, ROBUST, j] = rows[LOG_ROBUST, j]
    return shrink


@inlined
def log_robust_row(flags: Any, head: Head, slot: int, work: Work, count: int) -> None:
    """Write log w of a row of r, and keep log (1 + r)."""
    rows, shared, number = work.rows, work.shared, work.rows.dtype.type
    for j in range(count):
        rows[ROW_RATIO, j] = shared[slot, RATIO, j]
        rows[WEIGHT, j] = number(0)
    if flags.weighting == UNIFORM:
        return
    if flags.weighting == GAUSSIAN:
        for j in range(count):
            rows[WEIGHT, j] = -rows[ROW_RATIO, j]
        return
    slope = number(1) if flags.weighting == RATIONAL else number(1.0 + head.dof)
    bits = rows[BITS].view(np.int32)
    log1p_row(rows[ROW_RATIO], rows[LOG_ROBUST], rows[SPARE], bits, count)
    for j in range(count):
        rows[WEIGHT, j] = -slope * rows[LOG_ROBUST, j]


@inlined
def logit_row(flags: Any, k: int, slot: int, start: int, work: Work, count: int) -> None:
    """Write L of mode k, log w − log Σ_k or log w + the logarithm of the influence."""
    rows, pairs, shared = work.rows, work.pairs, work.shared
    inverse, prior = pairs[k, INVERSE, start:], pairs[k, PRIOR, start:]
    if flags.directions:
        for j in range(count):
            rows[WEIGHT, j] = shared[slot, ROBUST, j] + prior[j]
        return
    for j in range(count):
        rows[ROW_RATIO, j] = inverse[j]
    log_row(rows[ROW_RATIO], rows[WEIGHT], rows[BITS].view(np.int32), count)
    for j in range(count):
        rows[WEIGHT, j] += shared[slot, ROBUST, j]
