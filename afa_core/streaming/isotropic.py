"""A tile of isotropic attention (spec §4): x, Σ and E of its pairs, in few operations.

With x = Σ + cρ and c = 1/(ν_s d), a Student-t weight is Σ^{p−1} x^{−p}, p = ν_s + 1, and a rational
one x^{−1}. Through a frame t_c between keys and queries everything factors,

    E = e f,   Σ = a + e² g,   e = E(t_i − t_c),   a = γ² + V(t_i − t_c),
                               f = E(t_c − t_j),   g = V(t_c − t_j) + f²η²,

every term positive and every factor at most 1, so that x is one matrix product,

    x = [−2c e q̃, a + c‖q‖², e²] · [f k̃, 1, g + c f²‖k‖²].

Weights that take a logarithm have x = cρ instead, the same without a and g.
"""

from __future__ import annotations

from math import log
from typing import NamedTuple

from afa_core.arrays import Array, Namespace
from afa_core.covariance import residual_covariance
from afa_core.streaming.lags import Lagged, lagged
from afa_core.streaming.operands import Fixed, Operands, scale_of
from afa_core.streaming.operations import Operations

SHARE = 1.6
"""Of the logarithm of the largest number, what powers may span from their least to their most."""


class Model(NamedTuple):
    """The operands with what follows from them in work that grows as n + m.

    Powers are taken of x and Σ in units that keep them in range; the least x that rounding may
    leave, and the logarithm of the unit of the weights, go with them.
    """

    o: Operands
    fixed: Fixed
    power: int  # that of `fixed`, or 0 where the range of the weights is not known to be safe
    c: Array  # (g, 1)
    query2: Array  # ‖q‖², (g, n)
    key2: Array  # ‖k‖², (g, m)
    per_x: Array  # 1/unit of x, (g, n, 1)
    per_sigma: Array  # 1/unit of Σ, (g, 1)
    floor: Array  # in the unit of x, (g, n, 1)
    peak: Array  # (g, n, 1)


class Keys(NamedTuple):
    """A tile of keys in its frame."""

    left: Array  # [f k̃, 1, g + c f²‖k‖²], or without g, (g, m, 2d + 2)
    spread: Array  # [1, g], (g, m, 2)
    value: Array  # f ṽ, (g, m, 2d_v)
    at: Lagged  # of t_c − t_j
    time: Array  # t_c, (g, 1)


class Queries(NamedTuple):
    """A panel of queries in the frame of a tile."""

    left: Array  # [−2c e q̃, a + c‖q‖², e²], or without a, in the unit of x, (g, n, 2d + 2)
    spread: Array  # [a, e²] in the unit of Σ, (g, n, 2)
    at: Lagged  # of t_i − t_c


class Direct(NamedTuple):
    """A tile without a frame: what every pair has of its own, (g, n, m)."""

    at: Lagged
    sigma: Array
    sign: Array  # of the lag, whose size `at` holds


def model(o: Operands, fixed: Fixed, ops: Operations, *, xp: Namespace) -> Model:
    """Look at the parameters and at the lengths of tokens; choose units."""
    c = scale_of(fixed, o, xp=xp)
    query2, key2 = (xp.sum(x * x, axis=-1) for x in (o.query, o.key))
    longest = xp.sqrt(_greatest(key2, xp=xp))
    span = _greatest(abs(o.query_times), xp=xp) + _greatest(abs(o.key_times), xp=xp)
    ends = o.measurement + o.anchor, _sigma(o, xp.astype(span, o.query.dtype), xp=xp)
    low, high = xp.minimum(*ends), xp.maximum(*ends)  # Σ is monotone in the lag (spec §2)
    top = high + c * (xp.sqrt(query2) + longest) ** 2
    power = fixed.power
    if power > 1 and not _in_range(power, low, high, top, ops, xp=xp):
        power = 0
    if power:
        unit = xp.where(low > 0.0, xp.sqrt(low) * xp.sqrt(top), top)
        common = xp.where(low > 0.0, xp.sqrt(low) * xp.sqrt(high), high)
    else:
        unit, common = xp.ones_like(top), xp.ones_like(high)
    peak = (power - 1) * xp.log(common) - power * xp.log(unit)
    per_x = (1.0 / unit)[..., None]
    floor = low[..., None] * per_x if power else xp.zeros_like(per_x)
    return Model(o, fixed, power, c, query2, key2, per_x, 1.0 / common, floor, peak[..., None])


def _in_range(
    power: int, low: Array, high: Array, top: Array, ops: Operations, *, xp: Namespace
) -> bool:
    """Whether Σ^{p−1} x^{−p}, in its unit, can neither overflow nor vanish in any pair."""
    if ops.read is None:
        return False
    known = xp.where(low > 0.0, low, 1.0)
    spread = power * (xp.log(top) - xp.log(known)) + (power - 1) * (xp.log(high) - xp.log(known))
    spread = xp.where(low > 0.0, spread, xp.inf)
    widest = ops.read(xp.max(xp.where(xp.isnan(top), 0.0, spread)))
    return bool(widest < SHARE * log(xp.finfo(top.dtype).max))


def _greatest(x: Array, *, xp: Namespace) -> Array:
    """Return the greatest finite value of each row, (g, 1)."""
    return xp.max(xp.where(xp.isfinite(x), x, 0.0), axis=-1, keepdims=True)


def _sigma(o: Operands, lag: Array, *, xp: Namespace) -> Array:
    return residual_covariance(lag, o.decay, o.process, o.measurement, o.anchor, xp=xp)


def frame_time(o: Operands, columns: range, frame: int, *, xp: Namespace) -> Array:
    """Return the time t_c of a tile's frame: its latest time, or its earliest, (g, 1)."""
    times = o.key_times[:, columns.start : columns.stop]
    known = xp.isfinite(times)
    if frame > 0:
        return xp.max(xp.where(known, times, -xp.inf), axis=-1, keepdims=True)
    return xp.min(xp.where(known, times, xp.inf), axis=-1, keepdims=True)


def keys_in_frame(it: Model, columns: range, frame: int, *, xp: Namespace) -> Keys:
    """Carry a tile of keys to its frame."""
    o, own = it.o, slice(columns.start, columns.stop)
    key, value, key2 = o.key[:, own, :], o.value[:, own, :], it.key2[:, own]
    time = frame_time(o, columns, frame, xp=xp)
    at = lagged(_narrow(frame * (time - o.key_times[:, own]), key, xp=xp), o.decay, xp=xp)
    f = at.decayed
    spread = o.process * at.walk + f * f * o.measurement  # g
    one = xp.ones_like(spread)
    last = it.c * f * f * key2
    columns_of_x = (one[..., None], (spread + last if it.power else last)[..., None])
    return Keys(
        xp.concat([f[..., None] * key, *columns_of_x], axis=-1),
        xp.stack([one, spread], axis=-1),
        f[..., None] * value,
        at,
        time,
    )


def queries_in_frame(it: Model, rows: range, time: Array, frame: int, *, xp: Namespace) -> Queries:
    """Carry a panel of queries to the frame of a tile."""
    o, own = it.o, slice(rows.start, rows.stop)
    query, query2, per_x = o.query[:, own, :], it.query2[:, own], it.per_x[:, own, :]
    lag = frame * (o.query_times[:, own] - time)
    at = lagged(_narrow(lag, query, xp=xp), o.decay, xp=xp)
    e = at.decayed
    still = o.anchor + o.process * at.walk  # a
    first = it.c * query2
    first = still + first if it.power else first
    columns_of_x = (first[..., None] * per_x, (e * e)[..., None] * per_x)
    turned = ((-2.0 * it.c * e)[..., None] * per_x) * query
    return Queries(
        xp.concat([turned, *columns_of_x], axis=-1),
        xp.stack([still, e * e], axis=-1) * it.per_sigma[..., None],
        at,
    )


def directly(
    it: Model, rows: range, columns: range, visible: Array | None, *, xp: Namespace
) -> Direct:
    """Evaluate Σ and E pair by pair; hidden pairs have lag zero."""
    o = it.o
    lag = (
        o.query_times[:, rows.start : rows.stop, None]
        - o.key_times[:, None, columns.start : columns.stop]
    )
    lag = lag if visible is None else xp.where(visible, lag, 0.0)
    decay = o.decay[..., None]
    at = lagged(_narrow(abs(lag), o.query, xp=xp), decay, xp=xp)
    process, measurement, anchor = (x[..., None] for x in (o.process, o.measurement, o.anchor))
    sigma = process * at.walk + at.decayed * at.decayed * measurement + anchor
    return Direct(at, sigma, xp.sign(_narrow(lag, o.query, xp=xp)))


def direct_x(
    it: Model, rows: range, columns: range, direct: Direct, ops: Operations, *, xp: Namespace
) -> Array:
    """Return x in its unit, for a tile without a frame."""
    query = it.o.query[:, rows.start : rows.stop, :]
    key = it.o.key[:, columns.start : columns.stop, :]
    c = it.c[..., None]
    query2 = it.query2[:, rows.start : rows.stop, None]
    key2 = it.key2[:, None, columns.start : columns.stop]
    x = ops.product(-2.0 * c * query, xp.matrix_transpose(key))
    x = ops.add(x, direct.at.decayed * (c * key2))
    rest = direct.sigma + c * query2 if it.power else c * query2
    x = ops.add(ops.multiply(x, direct.at.decayed), rest)
    return ops.multiply(x, it.per_x[:, rows.start : rows.stop, :])


def _narrow(x: Array, like: Array, *, xp: Namespace) -> Array:
    return xp.astype(x, like.dtype, copy=False)
