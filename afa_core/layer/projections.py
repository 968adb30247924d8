"""From tokens to the modes of heads, and from estimates back to tokens (spec §8.1, §10)."""

from __future__ import annotations

from typing import Any, NamedTuple

from afa_core._array.arrays import Array, Namespace, compute_dtype
from afa_core._array.pairs import Pair, add, join, norm2, project, scale, split, square, subtract
from afa_core.layer.parameters import Parameters, positive
from afa_core.layer.settings import Settings
from afa_core.model.estimates import gate, predict
from afa_core.model.sde import SDE, RadialTangential

EPSILON = 1e-6
"""Added to the mean square |z|² before its root is divided by."""


class Projected(NamedTuple):
    """Tokens of all heads, (..., heads, tokens, channels), and each query token's own value."""

    query: Array
    key: Array
    value: Array
    own: Array


def projected(
    p: Parameters,
    s: Settings,
    query: Array,
    key: Array | None,
    value: Array | None,
    *,
    xp: Namespace,
) -> Projected:
    """Project tokens to the modes of all heads."""

    def heads_of(name: str, x: Array) -> Array:
        x = _apart(linear(p, name, x, xp=xp), s.heads, xp=xp)
        return normalised(x, p[f"{name}_gain"], s, xp=xp) if name in s.normalised else x

    key = query if key is None else key
    value = key if value is None else value
    values = heads_of("value", value)
    own = values if value is query else heads_of("value", query)
    queries, keys = heads_of("query", query), heads_of("key", key)
    if s.sphere:
        radius = positive(p["raw_radius"], s, xp=xp)
        queries, keys = completed(queries, None, s, xp=xp), completed(keys, radius, s, xp=xp)
    return Projected(queries, keys, values, own)


def linear(p: Parameters, name: str, x: Array, *, xp: Namespace) -> Array:
    """Return x Wᵀ + b."""
    y: Array = xp.matmul(x, xp.matrix_transpose(p[f"{name}_weight"]))
    return y + p[f"{name}_bias"] if f"{name}_bias" in p else y


def normalised(x: Array, gain: Array, s: Settings, *, xp: Namespace) -> Array:
    """Return z over its root mean square |z|, times a gain of each mode, (heads, d)."""
    z = split(x, s.layout, xp=xp)
    wide = compute_dtype(xp, x)
    power = xp.astype(square(z), wide, copy=False)
    root = xp.sqrt(xp.mean(power, axis=-1, keepdims=True) + EPSILON)
    return join(scale(gain[:, None, :] / root, z), s.layout, x.dtype, xp=xp)


def completed(x: Array, radius: Array | None, s: Settings, *, xp: Namespace) -> Array:
    """Return tokens with one mode more: √(R² − ‖z‖²) where R (heads,) is given, else zero."""
    z = split(x, s.layout, xp=xp)
    missing = xp.zeros_like(z.real[..., :1])
    more = missing
    if radius is not None:
        wide = compute_dtype(xp, x)
        length2 = xp.astype(norm2(z, xp=xp)[..., None], wide, copy=False)
        rest = radius[:, None, None] ** 2 - length2
        # two `where`s: the root has no slope at zero
        inside = rest > 0.0
        more = xp.where(inside, xp.sqrt(xp.where(inside, rest, 1.0)), 0.0)
        more = xp.astype(more, x.dtype, copy=False)
    whole = Pair(xp.concat([z.real, more], axis=-1), xp.concat([z.imag, missing], axis=-1))
    return join(whole, s.layout, x.dtype, xp=xp)


def finished(
    p: Parameters, s: Settings, mean: Array, precision: Any, own: Array, sde: SDE, *, xp: Namespace
) -> Array:
    """Return the output of estimates (..., heads, n, 2d_v), gated, carried ahead, projected."""
    if s.gated:
        mean = gated(p, s, mean, precision, own, xp=xp)
    if s.horizon:
        mean = predict(mean, sde, s.horizon, layout=s.layout)
    if s.output == "innovation":
        mean = mean - own
    return linear(p, "output", _together(mean, xp=xp), xp=xp)


def gated(
    p: Parameters, s: Settings, mean: Array, precision: Any, own: Array, *, xp: Namespace
) -> Array:
    """Return v + g (x̂ − v), along and across v by their own g where there are two."""
    axes = (..., None, None) if s.form == "diagonal" else (..., None)
    shares = gate(precision, positive(p["raw_prior_precision"], s, xp=xp)[axes])
    value = split(own, s.layout, xp=xp)
    moved = subtract(split(mean, s.layout, xp=xp), value)
    if isinstance(shares, RadialTangential):
        along = project(moved, value, xp=xp)
        radial, tangential = (x[..., None] for x in shares)
        moved = add(scale(radial, along), scale(tangential, subtract(moved, along)))
    else:
        moved = scale(shares if s.form == "diagonal" else shares[..., None], moved)
    return join(add(value, moved), s.layout, mean.dtype, xp=xp)


def _apart(x: Array, heads: int, *, xp: Namespace) -> Array:
    """Take heads apart, (..., tokens, heads · channels) to (..., heads, tokens, channels)."""
    *leading, tokens, width = x.shape
    x = xp.reshape(x, (*leading, tokens, heads, width // heads))
    return xp.permute_dims(x, (*range(x.ndim - 3), x.ndim - 2, x.ndim - 3, x.ndim - 1))


def _together(x: Array, *, xp: Namespace) -> Array:
    """Undo `_apart`."""
    x = xp.permute_dims(x, (*range(x.ndim - 3), x.ndim - 2, x.ndim - 3, x.ndim - 1))
    *leading, tokens, heads, channels = x.shape
    return xp.reshape(x, (*leading, tokens, heads * channels))
