"""One step of decoding in the isotropic form: a token written to a cache, and its query (spec §9).

A single query makes no matrix products: every key is read once, for its product and its weight.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from afa_numpy.fused.compiled import (
    BLOCK,
    announce_compilation,
    compiled,
    compiled_block,
    compiled_on_disk,
    sources,
)
from afa_numpy.fused.forward import Sums, add_row, finish_query, start_sums, weigh_row
from afa_numpy.fused.lags import lag_row
from afa_numpy.fused.problem import IsotropicFlags
from afa_numpy.fused.rows import DECAYED, KEY2, SIGMA, VARIANCE, new_rows
from afa_numpy.fused.tiles import BESIDE, Extent, Head

SMALLEST = 1e-30
"""Of variances: below it, and above its inverse, the operations of the array API take over."""


class StepTokens(NamedTuple):
    """The new token of each head."""

    query: Any  # (g, 2d)
    key: Any  # (g, 2d)
    value: Any  # (g, 2d_v)
    times: Any  # since the reference time, (rows,)


class Slots(NamedTuple):
    """The buffers of a cache, written at the place of the new token."""

    key: Any  # (g, slots, 2d), real parts before imaginary parts
    value: Any  # (g, slots, 2d_v)
    key2: Any  # (g, slots)
    times: Any  # (rows, slots)
    mask: Any  # of visible keys, (rows, 1, slots), or (1, 1, 0)
    rows: Any  # which row of times a head has, (g,)
    mask_rows: Any  # and which of the mask


class StepModel(NamedTuple):
    """The model of each head, in double precision."""

    parameters: Any  # μ, σ², η², γ², ν_s and β, (6, g)
    scale: Any  # c, (g,)
    missing: Any  # (1, 0, 1): no prior has a mean


class Phases(NamedTuple):
    """e^{iωt} at the time of the new token."""

    cosine: Any  # (1 or g, d)
    sine: Any
    value_cosine: Any  # (1 or g, d_v)
    value_sine: Any


@compiled
def ordinary(tokens: StepTokens, h: int, bound: float) -> bool:
    """Whether query and key of a head are within a bound, its value and all times finite."""
    for d in range(tokens.query.shape[1]):
        if not (abs(tokens.query[h, d]) <= bound and abs(tokens.key[h, d]) <= bound):
            return False
    total = 0.0  # NaN, or infinite, if a value is
    for d in range(tokens.value.shape[1]):
        total += abs(tokens.value[h, d])
    for each in tokens.times:
        total += abs(each)
    return bool(total < np.inf)


@compiled
def has_noise(parameters: Any) -> bool:
    """Whether Σ is at no lag too small or too large for logarithms in single precision."""
    decay, process, measurement, noise = parameters[:4]
    distant = process / (2.0 * decay) if decay > 0.0 else measurement + process
    low, high = min(measurement, distant) + noise, max(measurement, distant) + noise
    return bool(decay >= 0.0 and low > SMALLEST and high < 1.0 / SMALLEST)


@compiled
def rotate(
    x: Any, cosine: Any, sine: Any, sign: Any, paired: bool, to_paired: bool, found: Any
) -> None:
    """Write e^{±iθ} ⊙ z, in pairs or halves."""
    modes = x.shape[0] // 2
    for k in range(modes):
        c, s = cosine[k], sign * sine[k]
        a = x[2 * k] if paired else x[k]
        b = x[2 * k + 1] if paired else x[modes + k]
        real, imaginary = a * c - b * s, a * s + b * c
        found[2 * k if to_paired else k] = real
        found[2 * k + 1 if to_paired else modes + k] = imaginary


@compiled
def products_and_lags(
    query: Any, slots: Slots, head: Head, noise: Any, time: float, h: int, j0: int, rows: Any,
    product: Any, count: int,
) -> Any:  # fmt: skip
    """Write q̃ᵀk̃, c‖k‖², E and Σ of the keys from one on.

    Returns a sum of magnitudes, which is NaN or infinite if one of them is.
    """
    number = rows.dtype.type
    process, measurement = number(head.process), number(head.measurement)
    scale, keys, squares = number(head.scale), slots.key[h, j0:], slots.key2[h, j0:]
    for j in range(count):
        total = number(0)
        for d in range(query.shape[0]):
            total += query[d] * keys[j, d]
        product[j] = total
        rows[KEY2, j] = scale * squares[j]
    lag_row(time, slots.times[slots.rows[h], j0 : j0 + count], head.decay, rows, count)
    for j in range(count):
        square = rows[DECAYED, j] * rows[DECAYED, j]
        rows[SIGMA, j] = noise + process * rows[VARIANCE, j] + measurement * square
    magnitude = number(0)
    for j in range(count):
        magnitude += abs(product[j]) + rows[SIGMA, j]
    return magnitude


@compiled
def add_values(weight: Any, slots: Slots, h: int, j0: int, count: int, carried: Any) -> None:
    """Add Σ weight ṽ over the keys from one on."""
    values = slots.value[h, j0:]
    for j in range(count):
        for d in range(carried.shape[0]):
            carried[d] += weight[j] * values[j, d]


@compiled
def write_token(
    tokens: StepTokens, slots: Slots, phases: Phases, paired: bool, used: int, h: int, query: Any
) -> None:
    """Rotate the token of a head to the reference time: key and value to their slots."""
    number = query.dtype.type
    back, row = number(-1), h if phases.cosine.shape[0] > 1 else 0
    cosine, sine = phases.cosine[row], phases.sine[row]
    rotate(tokens.query[h], cosine, sine, back, paired, False, query)
    rotate(tokens.key[h], cosine, sine, back, paired, False, slots.key[h, used])
    row = h if phases.value_cosine.shape[0] > 1 else 0
    cosine, sine = phases.value_cosine[row], phases.value_sine[row]
    rotate(tokens.value[h], cosine, sine, back, paired, False, slots.value[h, used])
    square = number(0)
    for d in range(tokens.key.shape[1]):
        square += tokens.key[h, d] * tokens.key[h, d]
    slots.key2[h, used] = square


@compiled_block
def step_head(
    tokens: StepTokens, slots: Slots, phases: Phases, model: StepModel, flags: IsotropicFlags,
    paired: bool, used: int, h: int, results: Any,
) -> None:  # fmt: skip
    """Append the token of a head to its cache, and write the estimate of its query.

    The last result is a sum of magnitudes, which is NaN or infinite if a cached key or time is.
    """
    mean, precision, peak, total, magnitude = results
    like, number = tokens.query, mean.dtype.type
    query = np.empty(like.shape[1], like.dtype)
    write_token(tokens, slots, phases, paired, used, h, query)
    p = model.parameters
    head = Head(p[0, h], p[1, h], p[2, h], model.scale[h], p[4, h], p[5, h], -1)
    query2 = number(0)
    for d in range(query.shape[0]):
        query2 += query[d] * query[d]
    query2 *= number(head.scale)
    rows, product = new_rows(like, 1), np.empty(BLOCK, like.dtype)
    sums = Sums(
        np.empty((1, 2), like.dtype),
        np.empty((1, 2), like.dtype),
        np.zeros((1, mean.shape[2]), like.dtype),
        np.empty((1, 1)),
    )
    start_sums(model, flags, head, h, 0, number(head.inverse_temperature), sums.weights)
    start_sums(model, flags, head, h, 0, number(1), sums.untempered)
    time, noise = tokens.times[slots.rows[h]], number(p[3, h])
    for j0 in range(0, used + 1, BLOCK):
        j1 = min(j0 + BLOCK, used + 1)
        magnitude[h] += products_and_lags(
            query, slots, head, noise, time, h, j0, rows, product, j1 - j0
        )
        extent = Extent(slots.mask_rows[h], (0, 1), (j0, j1), BESIDE, 0.0)
        weigh_row(product, query2, number(1), slots, flags, head, extent, 0, rows, j1 - j0, j1 - j0)
        add_row(flags, head, rows, sums, 0, product, j1 - j0)
        add_values(product, slots, h, j0, j1 - j0, sums.carried[0])
    finish_query(flags, head, sums, 0, number(1), (mean, precision, peak, total), h, 0)
    for d in range(mean.shape[2]):
        sums.carried[0, d] = mean[h, 0, d]
    row = h if phases.value_cosine.shape[0] > 1 else 0
    cosine, sine = phases.value_cosine[row], phases.value_sine[row]
    rotate(sums.carried[0], cosine, sine, number(1), False, paired, mean[h, 0])


def _entry_points(digest: str) -> tuple[Any, Any]:
    """Return the loops that Python calls, compiled for the sources of a digest."""

    @compiled_on_disk
    def fits(tokens: Any, model: Any, bound: float) -> bool:
        for h in range(tokens.query.shape[0]):
            if not (ordinary(tokens, h, bound) and has_noise(model.parameters[:, h])):
                return False
        return len(digest) > 0

    @compiled_on_disk
    def step_jobs(
        tokens: Any, slots: Any, phases: Any, model: Any, flags: Any, paired: bool, used: int,
        first: int, last: int, results: Any,
    ) -> int:  # fmt: skip
        for h in range(first, last):
            step_head(tokens, slots, phases, model, flags, paired, used, h, results)
        return len(digest)

    return fits, step_jobs


fits, step_jobs = _entry_points(sources())
announce_compilation({step_jobs})
