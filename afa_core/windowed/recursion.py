"""Correlated keys of uniform weight: the sums over a window by the recursion of the filter.

With a_ij of (14.1), the sums over the keys that are kept obey

    s_i = (1 − K_i) s_{i−1} + K_i,   x_i = (1 − K_i) E(h_i) x_{i−1} + K_i ṽ_i,   x̂_i = x_i/s_i,

from zero before the first of them, with K of the whole sequence. No pair is formed.
"""

from __future__ import annotations

from afa_core._array.arrays import Array, Namespace
from afa_core._array.scan import affine, prefixes, previous
from afa_core.model.covariance import decay_factor
from afa_core.streaming.operands import Operands, StaticProblem
from afa_core.windowed.blocks import visible_keys
from afa_core.windowed.far_keys import latest_times


def filter_window(
    operands: Operands, static: StaticProblem, level: Array, *, xp: Namespace
) -> Array:
    """Return the mean over the visible keys of every head, rotated to time zero, (g, n, 2d_v).

    `level` holds the terms of C_j at the keys, (g, m, t, 1).
    """
    value, visible = operands.value, visible_keys(operands, static, xp=xp)
    latest = latest_times(operands, visible, xp=xp)
    times = xp.where(latest == -xp.inf, 0.0, latest)

    def narrow(x: Array) -> Array:
        return xp.astype(x, value.dtype, copy=False)

    def decayed(lag: Array) -> Array:  # of no meaning before the first visible key
        return decay_factor(narrow(lag), operands.decay, xp=xp)

    lost = level - previous(level[:, :1, ...], level, axis=-3, xp=xp)
    kept = narrow(xp.exp(xp.sum(lost, axis=-2)))  # 1 − K_i
    carried = kept * decayed(times - previous(times[:, :1, :], times, axis=-2, xp=xp))
    gain = narrow(xp.exp(xp.sum(level - operands.key_level, axis=-2)))
    gain = gain if visible is None else xp.where(visible, gain, 0.0)
    slopes = xp.concat([kept, xp.broadcast_to(carried, value.shape)], axis=-1)
    constants = xp.concat([gain, gain * value], axis=-1)
    sums = prefixes(affine, (slopes, constants), axis=-2, xp=xp)[1]

    queries, keys = static.visibility[:2]
    rows = min(queries, keys)  # earlier queries come before all keys
    sums = sums[:, keys - rows :, :]
    e = decayed(operands.query_times[:, queries - rows :, :] - times[:, keys - rows :, :])
    mean = e * sums[..., 1:] / xp.where(sums[..., :1] > 0.0, sums[..., :1], 1.0)
    if rows == queries:
        return mean
    missing = xp.zeros_like(operands.query[:, : queries - rows, :1])
    absent = xp.broadcast_to(missing, (*missing.shape[:2], mean.shape[-1]))
    return xp.concat([absent, mean], axis=1)
