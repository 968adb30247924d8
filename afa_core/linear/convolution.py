"""Weighted means over the past whose weights depend on the lag alone, by Fourier transforms.

A transform of the whole sequence is as exact as its largest sum, which says little of a row whose
own sum is small. Here every row is as exact as the largest of the values carried to it: no
transform reaches further than twice the past of a row, decay is taken out of it, and so is the
trend of weights that rise with the lag.
"""

from __future__ import annotations

from typing import NamedTuple

from afa_core._array.arrays import Array, Namespace, device_of, positive_part
from afa_core._array.scan import Combine, Elements, prefixes
from afa_core.reference.softmax import weighted_sum

LEAF = 64
"""The longest piece of a sequence that is summed pair by pair."""


class Kernel(NamedTuple):
    """The weights of keys at the lags 0, 1, …, in groups of channels that share them."""

    log_weight: Array  # −β log(Σ(Δ)/Σ(0)), monotone, (..., groups, length)
    precision: Array  # 1/Σ(Δ), (..., groups, length)
    decay: Array  # μ, (..., groups, 1)


class Sums(NamedTuple):
    """What is summed over the keys of each row, (..., groups, length)."""

    peak: Array
    total: Array  # Σ_j e^{log weight − peak}
    precision: Array  # Σ_j 1/Σ_ij

    def log_total(self, *, xp: Namespace) -> Array:
        """Return log Σ_j e^{log weight}, the normaliser of a row."""
        return self.peak + xp.log(self.total)


def pieces(tokens: int) -> tuple[int, int]:
    """Return the size of a leaf, and the length of the 1, 2, 4, … leaves that hold all tokens."""
    levels = (-(-tokens // LEAF) - 1).bit_length()
    leaf = -(-tokens // 2**levels)
    return leaf, leaf * 2**levels


def cumulative(kernel: Kernel, *, own: bool, xp: Namespace) -> Sums:
    """Return the sums over the lags 0, …, i of each row i; the first not counted unless `own`."""
    count = xp.ones_like(kernel.log_weight)
    precision = kernel.precision
    if not own:
        count, precision = (
            xp.concat([xp.zeros_like(x[..., :1]), x[..., 1:]], axis=-1) for x in (count, precision)
        )
    elements = (kernel.log_weight, count, precision)
    return Sums(*prefixes(merging(xp), elements, axis=-1, xp=xp))


def merging(xp: Namespace) -> Combine:
    """Return how the sums over two sets of keys become those over both (spec §9)."""

    def merge(one: Elements, two: Elements) -> Elements:
        (peak, total, precision), (other_peak, other_total, other_precision) = one, two
        highest = xp.maximum(peak, other_peak)
        total = total * xp.exp(peak - highest) + other_total * xp.exp(other_peak - highest)
        return highest, total, precision + other_precision

    return merge


def mean_of_past(
    values: Array, kernel: Kernel, log_total: Array, *, own: bool, xp: Namespace
) -> Array:
    """Return Σ_{j≤i} e^{log weight − log total_i − μ(i−j)} v_j of each row i; j < i unless `own`.

    Parameters
    ----------
    values : array, shape (..., groups, channels, length)
    kernel : Kernel
    log_total : array, shape (..., groups, length)
        At least the log of the sum of these weights.
    own : bool
        Whether a row sees its own key.

    Returns
    -------
    array, shape (..., groups, channels, length)
    """
    size, length = pieces(values.shape[-1])
    means = _within_leaves(values, kernel, log_total, size, own=own, xp=xp)
    while size < length:
        halves = xp.reshape(means, (*means.shape[:-2], -1, 2, size))
        late = halves[..., 1, :] + _across(values, kernel, log_total, size, xp=xp)
        means = xp.concat([halves[..., 0, :], late], axis=-1)  # (..., count, 2 size)
        size = 2 * size
    return means[..., 0, :]


def _within_leaves(
    values: Array, kernel: Kernel, log_total: Array, size: int, *, own: bool, xp: Namespace
) -> Array:
    """Return what each leaf contributes to its own rows, (..., groups, channels, leaves, size)."""
    places = xp.arange(size, dtype=xp.int32, device=device_of(values))
    lag = places[:, None] - places[None, :]  # (rows, keys)
    visible = lag >= 0 if own else lag > 0
    lag = xp.where(visible, lag, 0)
    log_weight = kernel.log_weight[..., :size]
    pairs = xp.reshape(
        xp.take(log_weight, xp.reshape(lag, (-1,)), axis=-1), (*log_weight.shape[:-1], size, size)
    )
    peak = xp.maximum(log_weight[..., :1], log_weight)  # of a row: its weights are monotone
    faded = kernel.decay[..., None] * xp.astype(lag, values.dtype)
    weight = xp.where(visible, xp.exp(pairs - peak[..., :, None] - faded), 0.0)

    channels, leaves = values.shape[-2], values.shape[-1] // size
    columns = xp.reshape(values, (*values.shape[:-2], channels * leaves, size))
    sums = weighted_sum(weight, xp.matrix_transpose(columns), visible, xp=xp)
    sums = xp.matrix_transpose(sums)
    sums = xp.reshape(sums, (*sums.shape[:-2], channels, leaves, size))
    log_total = xp.reshape(log_total, (*log_total.shape[:-1], 1, leaves, size))
    return sums * xp.exp(peak[..., None, None, :] - log_total)


def _across(values: Array, kernel: Kernel, log_total: Array, size: int, *, xp: Namespace) -> Array:
    """Return what first halves contribute to second ones, (..., groups, channels, count, size).

    A key k of the first half and a row r of the second are (size − k) + r apart, and so are the
    factors of decay. Where weights rise with the lag, their mean trend e^{gΔ} over the last half
    of these lags splits likewise. In a cyclic convolution as long as both halves no lag wraps.
    """
    count = values.shape[-1] // (2 * size)
    keys = xp.reshape(values, (*values.shape[:-1], count, 2 * size))[..., :size]
    totals = xp.reshape(log_total, (*log_total.shape[:-1], count, 2, size))[..., 1, :]
    places = xp.arange(2 * size, dtype=values.dtype, device=device_of(values))
    place, rest = places[:size], size - places[:size]

    log_weight = kernel.log_weight[..., 1 : 2 * size]  # of the lags 1, …, 2 size − 1
    rise = log_weight[..., -1:] - log_weight[..., size - 1 : size]
    rise = positive_part(rise, xp=xp) / max(1, size - 1)  # g
    level = log_weight - rise * places[1:]
    peak = xp.max(level, axis=-1, keepdims=True)
    weight = xp.exp(level - peak)
    weight = xp.concat([xp.zeros_like(weight[..., :1]), weight], axis=-1)  # lag 0 is not met

    sent = xp.exp(-kernel.decay * rest - rise * place)  # (..., groups, size)
    gained = peak + rise * (size + place) - kernel.decay * place
    gained = xp.exp(gained[..., None, :] - totals)  # (..., groups, count, size)
    spectrum = xp.fft.rfft(keys * sent[..., None, None, :], n=2 * size)
    spectrum = spectrum * xp.fft.rfft(weight, n=2 * size)[..., None, None, :]
    joint: Array = xp.fft.irfft(spectrum, n=2 * size)
    return joint[..., size:] * gained[..., None, :, :]
