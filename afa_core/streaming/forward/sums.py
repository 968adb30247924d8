"""Sums over the keys processed so far, for every query (spec §9)."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from afa_core._array.arrays import Array, Namespace, Parameter, device_of
from afa_core._array.log_sum_exp import finite_peak
from afa_core.reference.softmax import hide
from afa_core.streaming.operations import Operations


class RunningSums(NamedTuple):
    """Sums over keys of the weights exp(βL_ij − peak_i), for one component or several.

    `total` is Z = Σ_j exp(βL_ij − peak_i), `carried` is N = Σ_j exp(βL_ij − peak_i) E_ij ṽ_j.
    `untempered` holds the peak and the sum of exp(L_ij), kept where β differs from 1.
    """

    peak: Array  # (g, n, 1)
    total: Array  # (g, n, 1)
    carried: Array  # (g, n, 2d_v)
    untempered: tuple[Array, Array] | None


class StreamResult(NamedTuple):
    """The estimate, rotated back to time zero, and the normalisers that the backward needs."""

    mean: Array  # (g, n, 2d_v), for each component
    precision: Array  # (g, n, s)
    peak: Array  # (g, n, s)
    total: Array  # (g, n, s)


def empty_sums(
    shape: tuple[int, ...], width: int, like: Array, *, untempered: bool, xp: Namespace
) -> RunningSums:
    """Return the sums over no key, for queries of shape (g, …, n) and `width` value channels."""
    device, dtype = device_of(like), like.dtype
    total = xp.zeros((*shape, 1), dtype=dtype, device=device)
    lowest = xp.full((*shape, 1), -xp.inf, dtype=dtype, device=device)
    carried = xp.zeros((*shape, width), dtype=dtype, device=device)
    return RunningSums(lowest, total, carried, (lowest, total) if untempered else None)


def begin_with(
    sums: RunningSums, log_weight: Array, inverse_temperature: Array, *, xp: Namespace
) -> RunningSums:
    """Return the sums over no key but a weight whose value is zero, that of the prior's mean."""
    there = xp.astype(log_weight > -xp.inf, log_weight.dtype)
    untempered = None if sums.untempered is None else (log_weight, there)
    peak = scaled_log_weight(log_weight, inverse_temperature, xp=xp)
    return sums._replace(peak=peak, total=there, untempered=untempered)


def scaled_log_weight(log_weight: Array, inverse_temperature: Parameter, *, xp: Namespace) -> Array:
    """Return β log w, −∞ where w = 0, whatever β."""
    absent = log_weight == -xp.inf
    return xp.where(absent, -xp.inf, inverse_temperature * xp.where(absent, 0.0, log_weight))


def result(sums: RunningSums, *, xp: Namespace) -> StreamResult:
    """Return the estimate and its precision."""
    mean = sums.carried / xp.where(sums.total > 0.0, sums.total, 1.0)
    peak, total = (sums.peak, sums.total) if sums.untempered is None else sums.untempered
    return StreamResult(mean, total * xp.exp(peak), sums.peak, sums.total)


def add_logits(
    sums: RunningSums,
    logit: Array,
    visible: Array | None,
    inverse_temperature: Array | None,
    ops: Operations,
    *,
    correlated: bool,
    xp: Namespace,
) -> tuple[RunningSums, Array]:
    """Add the weights of a tile to the peak and the total; return the sums and these weights.

    The weights are relative to the new peak, and so is `carried`, to which the caller adds the
    tile's values. May overwrite the logits.
    """
    untempered = sums.untempered
    if untempered is not None:
        untempered = add_to_total(*untempered, hide(logit + 0.0, visible, xp=xp), ops, xp=xp)[:2]
    if inverse_temperature is not None:
        scale = partial(scaled_log_weight, xp=xp) if correlated else ops.multiply
        logit = scale(logit, inverse_temperature)
    peak, total, weights, shrink = add_to_total(
        sums.peak, sums.total, hide(logit, visible, xp=xp), ops, xp=xp
    )
    return RunningSums(peak, total, ops.multiply(sums.carried, shrink), untempered), weights


def add_to_total(
    peak: Array, total: Array, logit: Array, ops: Operations, *, xp: Namespace
) -> tuple[Array, Array, Array, Array]:
    """Return the new peak, the new total, the tile's weights, and the factor on earlier sums."""
    higher, weights, shrink = below_new_peak(peak, logit, ops, xp=xp)
    return higher, shrink * total + xp.sum(weights, axis=-1, keepdims=True), weights, shrink


def below_new_peak(
    peak: Array, logit: Array, ops: Operations, *, xp: Namespace
) -> tuple[Array, Array, Array]:
    """Return the new peak, the tile's weights relative to it, and the factor on earlier sums."""
    higher = xp.maximum(peak, xp.max(logit, axis=-1, keepdims=True))
    shift = finite_peak(higher, xp=xp)
    return higher, ops.exp(ops.subtract(logit, shift)), xp.exp(peak - shift)
