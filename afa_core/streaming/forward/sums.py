"""What the keys seen so far add up to, for every query (spec §9)."""

from __future__ import annotations

from typing import NamedTuple

from afa_core._array.arrays import Array, Namespace, device_of
from afa_core.reference.softmax import hide
from afa_core.streaming.operations import Operations


class Sums(NamedTuple):
    """Sums over keys of weights exp(βL_ij − peak_i), one set or several, and of what they carry.

    `total` is Z = Σ_j exp(βL_ij − peak_i), `carried` is N = Σ_j exp(βL_ij − peak_i) E_ij ṽ_j;
    `claim` has the peak and the sum of exp(L_ij), where β makes it another.
    """

    peak: Array  # (g, n, 1)
    total: Array  # (g, n, 1)
    carried: Array  # (g, n, 2d_v)
    claim: tuple[Array, Array] | None


class Result(NamedTuple):
    """The estimate, turned back to time zero, with what the way back needs."""

    mean: Array  # (g, n, 2d_v), of each set
    precision: Array  # (g, n, s)
    peak: Array  # (g, n, s)
    total: Array  # (g, n, s)


def nothing(shape: tuple[int, ...], width: int, like: Array, *, claim: bool, xp: Namespace) -> Sums:
    """Return the sums over no key at all of queries (g, …, n), which carry `width` channels."""
    device, dtype = device_of(like), like.dtype
    total = xp.zeros((*shape, 1), dtype=dtype, device=device)
    lowest = xp.full((*shape, 1), -xp.inf, dtype=dtype, device=device)
    carried = xp.zeros((*shape, width), dtype=dtype, device=device)
    return Sums(lowest, total, carried, (lowest, total) if claim else None)


def result(sums: Sums, *, xp: Namespace) -> Result:
    """Return the estimate and its precision."""
    mean = sums.carried / xp.where(sums.total > 0.0, sums.total, 1.0)
    peak, total = (sums.peak, sums.total) if sums.claim is None else sums.claim
    return Result(mean, total * xp.exp(peak), sums.peak, sums.total)


def add_logits(
    sums: Sums,
    logit: Array,
    visible: Array | None,
    inverse_temperature: Array | None,
    ops: Operations,
    *,
    xp: Namespace,
) -> tuple[Sums, Array]:
    """Add the weights of a tile but for what they carry; also return these, below a new peak.

    What is carried so far has shrunk to it. May overwrite the logits.
    """
    claim = sums.claim
    if claim is not None:
        claim = raised(*claim, hide(logit + 0.0, visible, xp=xp), ops, xp=xp)[:2]
    if inverse_temperature is not None:
        logit = ops.multiply(logit, inverse_temperature)
    peak, total, weights, shrink = raised(
        sums.peak, sums.total, hide(logit, visible, xp=xp), ops, xp=xp
    )
    return Sums(peak, total, ops.multiply(sums.carried, shrink), claim), weights


def raised(
    peak: Array, total: Array, logit: Array, ops: Operations, *, xp: Namespace
) -> tuple[Array, Array, Array, Array]:
    """Return the peak and the total with a tile, its weights, and what the sums shrink by."""
    higher, weights, shrink = lifted(peak, logit, ops, xp=xp)
    return higher, shrink * total + xp.sum(weights, axis=-1, keepdims=True), weights, shrink


def lifted(
    peak: Array, logit: Array, ops: Operations, *, xp: Namespace
) -> tuple[Array, Array, Array]:
    """Return the peak with a tile, the weights of the tile below it, and what sums shrink by."""
    higher = xp.maximum(peak, xp.max(logit, axis=-1, keepdims=True))
    shift = xp.where(higher == -xp.inf, 0.0, higher)
    return higher, ops.exp(ops.subtract(logit, shift)), xp.exp(peak - shift)
