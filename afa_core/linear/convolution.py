"""Weighted means over the past whose weights depend on the lag alone, by Fourier transforms.

The rounding error of a transform of the whole sequence is relative to its largest sum, which is
far too large for rows whose own sum is small. Here the error of a row is relative to the largest
value propagated to it: no transform is longer than twice the past of a row, and the decay, and the
trend of weights that increase with the lag, are factored out of it.
"""

from __future__ import annotations

from typing import NamedTuple

from afa_core._array.arrays import Array, Namespace, device_of, positive_part, with_rank
from afa_core._array.log_sum_exp import merge_sums
from afa_core._array.scan import Combine, Elements, prefixes
from afa_core.reference.softmax import weighted_sum

MAX_LEAF = 64
"""The longest part of a sequence that is summed pair by pair."""


class Kernel(NamedTuple):
    """The weights of keys at the lags 0, 1, …, in groups of channels that share them."""

    log_weight: Array  # −β log(Σ(Δ)/Σ(0)), monotone, (..., groups, length)
    precision: Array  # 1/Σ(Δ), (..., groups, length)
    decay: Array  # μ, (..., groups, 1)


class LagSums(NamedTuple):
    """Sums over the keys of each row, (..., groups, length)."""

    peak: Array
    total: Array  # Σ_j e^{log weight − peak}
    precision: Array  # Σ_j 1/Σ_ij

    def log_total(self, *, xp: Namespace) -> Array:
        """Return log Σ_j e^{log weight}, the normaliser of a row."""
        return self.peak + xp.log(self.total)


def leaves_of(tokens: int) -> tuple[int, int]:
    """Return the size of a leaf, and the length of the 1, 2, 4, … leaves that hold all tokens."""
    levels = (-(-tokens // MAX_LEAF) - 1).bit_length()
    size = -(-tokens // 2**levels)
    return size, size * 2**levels


def cumulative_sums(kernel: Kernel, *, include_own: bool, xp: Namespace) -> LagSums:
    """Return the sums of each row i over the lags 0, …, i, or over 1, …, i."""
    count = xp.ones_like(kernel.log_weight)
    precision = kernel.precision
    if not include_own:
        count, precision = (
            xp.concat([xp.zeros_like(x[..., :1]), x[..., 1:]], axis=-1) for x in (count, precision)
        )
    elements = (kernel.log_weight, count, precision)
    return LagSums(*prefixes(combine_sums(xp), elements, axis=-1, xp=xp))


def combine_sums(xp: Namespace) -> Combine:
    """Return the operation from the sums over two sets of keys to those over both."""

    def combine(one: Elements, two: Elements) -> Elements:
        return *merge_sums(one[:2], two[:2], xp=xp), one[2] + two[2]

    return combine


def mean_of_past(
    values: Array, kernel: Kernel, log_total: Array, *, include_own: bool, xp: Namespace
) -> Array:
    """Return Σ_j e^{log weight − log total_i − μ(i−j)} v_j over j ≤ i, or j < i, for each row i.

    Parameters
    ----------
    values : array, shape (..., groups, channels, length)
    kernel : Kernel
    log_total : array, shape (..., groups, length)
        At least the log of the sum of these weights.
    include_own : bool
        Whether j = i counts.

    Returns
    -------
    array, shape (..., groups, channels, length)
    """
    if 0 in values.shape:  # of no batch, which has no size to infer and no transform in PyTorch
        return values
    size, length = leaves_of(values.shape[-1])
    means = _within_leaves(values, kernel, log_total, size, include_own=include_own, xp=xp)
    while size < length:
        halves = xp.reshape(means, (*means.shape[:-2], -1, 2, size))
        late = halves[..., 1, :] + _across_halves(values, kernel, log_total, size, xp=xp)
        means = xp.concat([halves[..., 0, :], late], axis=-1)  # (..., count, 2 size)
        size = 2 * size
    return means[..., 0, :]


def _within_leaves(
    values: Array, kernel: Kernel, log_total: Array, size: int, *, include_own: bool, xp: Namespace
) -> Array:
    """Return the sums of each leaf's rows over its keys, (..., groups, channels, leaves, size)."""
    places = xp.arange(size, dtype=xp.int32, device=device_of(values))
    lag = with_rank(places[:, None] - places[None, :], values.ndim)  # (..., rows, keys)
    visible = lag >= 0 if include_own else lag > 0
    lag = xp.where(visible, lag, 0)
    log_weight = kernel.log_weight[..., :size]
    pairs = xp.reshape(
        xp.take(log_weight, xp.reshape(lag, (-1,)), axis=-1), (*log_weight.shape[:-1], size, size)
    )
    peak = xp.maximum(log_weight[..., :1], log_weight)  # of a row: its weights are monotone
    exponent = kernel.decay[..., None] * xp.astype(lag, values.dtype)
    weight = xp.where(visible, xp.exp(pairs - peak[..., :, None] - exponent), 0.0)

    channels, leaves = values.shape[-2], values.shape[-1] // size
    columns = xp.reshape(values, (*values.shape[:-2], channels * leaves, size))
    sums = weighted_sum(weight, xp.matrix_transpose(columns), visible, xp=xp)
    sums = xp.matrix_transpose(sums)
    sums = xp.reshape(sums, (*sums.shape[:-2], channels, leaves, size))
    log_total = xp.reshape(log_total, (*log_total.shape[:-1], 1, leaves, size))
    return sums * xp.exp(peak[..., None, None, :] - log_total)


def _across_halves(
    values: Array, kernel: Kernel, log_total: Array, size: int, *, xp: Namespace
) -> Array:
    """Return the sums of second halves over first ones, (..., groups, channels, count, size).

    The lag from key k of the first half to row r of the second is (size − k) + r, and the decay is
    the product of the factors of these two parts. So is the mean trend e^{gΔ} over the last half
    of the lags, where weights increase with the lag. A cyclic convolution as long as both halves
    does not wrap around.
    """
    count = values.shape[-1] // (2 * size)
    keys = xp.reshape(values, (*values.shape[:-1], count, 2 * size))[..., :size]
    totals = xp.reshape(log_total, (*log_total.shape[:-1], count, 2, size))[..., 1, :]
    places = xp.arange(2 * size, dtype=values.dtype, device=device_of(values))
    places = with_rank(places, kernel.log_weight.ndim)
    place, remaining = places[..., :size], size - places[..., :size]

    log_weight = kernel.log_weight[..., 1 : 2 * size]  # of the lags 1, …, 2 size − 1
    trend = log_weight[..., -1:] - log_weight[..., size - 1 : size]
    trend = positive_part(trend, xp=xp) / max(1, size - 1)  # g
    level = log_weight - trend * places[..., 1:]
    peak = xp.max(level, axis=-1, keepdims=True)
    weight = xp.exp(level - peak)
    weight = xp.concat([xp.zeros_like(weight[..., :1]), weight], axis=-1)  # lag 0 does not occur

    key_factor = xp.exp(-kernel.decay * remaining - trend * place)  # (..., groups, size)
    row_exponent = peak + trend * (size + place) - kernel.decay * place
    row_factor = xp.exp(row_exponent[..., None, :] - totals)  # (..., groups, count, size)
    spectrum = xp.fft.rfft(keys * key_factor[..., None, None, :], n=2 * size)
    spectrum = spectrum * xp.fft.rfft(weight, n=2 * size)[..., None, None, :]
    convolved: Array = xp.fft.irfft(spectrum, n=2 * size)
    return convolved[..., size:] * row_factor[..., None, :, :]
