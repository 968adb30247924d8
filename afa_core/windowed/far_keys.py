"""Sums over the keys before a window, to first order in their decay E (spec §9).

With E = e f, the product of the decay from key j to a reference time and from there to query i,

    x = x∞ + δ_j,   δ_j = e² f²(η² − α + c‖k‖²) − 2c e q̃ · f k̃,   x∞ = γ² + α + c‖q‖²,

where α = σ²/2μ. The weight is expanded to first order at x∞, which takes sums over the far keys of
1, f k̃, f ṽ, f² and f²‖k‖² only. From block to block these sums are an affine recurrence. Hidden
keys are in none of them, and the reference time is that of the latest visible far key.
"""

from __future__ import annotations

from typing import NamedTuple

from afa_core._array.arrays import Array, Namespace
from afa_core._array.scan import affine, prefixes
from afa_core.model.covariance import decay_factor
from afa_core.model.weighting import Uniform
from afa_core.streaming.operands import Operands, StaticProblem, residual_scale
from afa_core.streaming.operations import standard
from afa_core.streaming.pair_weights import log_robust, log_robust_slope
from afa_core.windowed.blocks import WindowBlocks, visible_keys


class FarSums(NamedTuple):
    """Sums over the far keys of each block, (g, blocks, width); f decays to the last of them."""

    key: Array  # Σ f k̃, width 2d
    value: Array  # Σ f ṽ, width 2d_v
    square: Array  # Σ f², width 1
    length: Array  # Σ f²‖k‖², width 1
    tokens: Array  # number of far keys, width 1


def far_weights(
    operands: Operands, static: StaticProblem, blocks: WindowBlocks, *, xp: Namespace
) -> tuple[Array, Array]:
    """Return Σ w and Σ w E ṽ over the far keys to first order, (g, blocks, queries, width)."""
    size, number, _, first = blocks
    visible = visible_keys(operands, static, xp=xp)
    latest = latest_times(operands, visible, xp=xp)
    latest = latest[:, first - 1 : first - 1 + number * size : size, :]
    none = latest == -xp.inf  # no far key is visible
    last = xp.where(none, 0.0, latest)
    sums = _far_sums(operands, visible, blocks, last, xp=xp)
    key, value, square, length, tokens = (x[:, :, None, :] for x in sums)

    def parameter(x: Array) -> Array:
        return x[:, None, ...]

    query, times = (blocks.cut_queries(x, xp=xp) for x in (operands.query, operands.query_times))
    lag = times - last[:, :, None, :]
    lag = xp.where(none[:, :, None, :], 0.0, lag)
    # times that decrease have no estimate
    lag = xp.astype(xp.where(lag < 0.0, xp.nan, lag), query.dtype, copy=False)
    e = decay_factor(lag, parameter(operands.decay), xp=xp)
    alpha, own = parameter(stationary_variance(operands, xp=xp)), operands.query_variance
    shared = parameter(operands.query_noise)
    sigma = alpha + (blocks.cut_queries(own, xp=xp) if own.shape[-1] else shared)
    c, dof = (parameter(x) for x in (residual_scale(static, operands, xp=xp), operands.dof))
    ratio = c * xp.sum(query * query, axis=-1, keepdims=True) / sigma
    slope, log_weight = xp.zeros_like(ratio), xp.zeros_like(ratio)
    if static.weighting is not Uniform:
        slope = log_robust_slope(static.weighting, ratio, dof, xp=xp)
        log_weight = log_robust(static.weighting, ratio + 0.0, dof, standard(xp))
    weight = xp.exp(log_weight) / sigma
    product = xp.sum(query * key, axis=-1, keepdims=True)
    residual = c * e * (e * length - 2.0 * product)
    variance = e * e * (parameter(operands.measurement) - alpha) * square
    change = slope * residual - (1.0 + ratio * slope) * variance
    return weight * (tokens + change / sigma), weight * e * value


def stationary_variance(operands: Operands, *, xp: Namespace) -> Array:
    """Return α = σ²/2μ, NaN without decay, where there is no such variance."""
    return operands.process / (2.0 * xp.where(operands.decay > 0.0, operands.decay, xp.nan))


def latest_times(operands: Operands, visible: Array | None, *, xp: Namespace) -> Array:
    """Return at every key the time of the latest visible one, (g, m, 1), −∞ before the first.

    Where all are visible that is its own time: times do not decrease.
    """
    if visible is None:
        return operands.key_times
    shown = xp.where(visible, operands.key_times, -xp.inf)
    return prefixes(lambda x, y: (xp.maximum(x[0], y[0]),), (shown,), axis=-2, xp=xp)[0]


def _far_sums(
    operands: Operands,
    visible: Array | None,
    blocks: WindowBlocks,
    last: Array,
    *,
    xp: Namespace,
) -> FarSums:
    """Sum over the far keys of every block, given the times (g, blocks, 1) of the last ones."""
    heads, (_, number, _, first) = operands.query.shape[0], blocks
    later = blocks._replace(number=number - 1)

    def parts_of(x: Array) -> list[Array]:
        later_parts = [later.cut(x, first, xp=xp)] if later.number else []
        return [x[:, None, :first, :], *later_parts]

    def sums_of(key: Array, value: Array, times: Array, one: Array, end: Array) -> Array:
        lag = xp.astype(end[:, :, None, :] - times, key.dtype, copy=False)
        f = one * decay_factor(lag, operands.decay[:, None, ...], xp=xp)
        decayed, square = f * key, f * f
        length = xp.sum(decayed * decayed, axis=-1, keepdims=True)
        terms = [decayed, f * value, square, length, one]
        return xp.sum(xp.concat(terms, axis=-1), axis=2)

    shown = xp.ones_like(operands.key[..., :1])
    shown = shown if visible is None else xp.where(visible, shown, 0.0)
    tokens = (parts_of(x) for x in (operands.key, operands.value, operands.key_times, shown))
    ends = [last[:, :1, :], last[:, 1:, :]]
    sums = xp.concat([sums_of(*each) for each in zip(*tokens, ends, strict=False)], axis=1)
    elapsed = last - xp.concat([last[:, :1, :], last[:, :-1, :]], axis=1)
    e = decay_factor(xp.astype(elapsed, sums.dtype, copy=False), operands.decay, xp=xp)
    key_width = operands.key.shape[-1]
    width = key_width + operands.value.shape[-1]
    slopes = [xp.broadcast_to(e, (heads, number, width)), e * e, e * e, xp.ones_like(e)]
    _, sums = prefixes(affine, (xp.concat(slopes, axis=-1), sums), axis=-2, xp=xp)
    return FarSums(
        sums[..., :key_width],
        sums[..., key_width:width],
        *(sums[..., each : each + 1] for each in range(width, width + 3)),
    )
