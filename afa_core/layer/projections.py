"""Projection of tokens to the modes of heads, and of estimates to outputs (spec §8.1, §10)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from afa_core._array.arrays import Array, Namespace, with_rank
from afa_core._array.pairs import Pair, add, join, norm2, project, scale, square, subtract
from afa_core.layer.parameters import Parameters, positive
from afa_core.layer.settings import Settings
from afa_core.model.estimates import gate, predict, read_tokens
from afa_core.model.sde import SDE, RadialTangential

Projections: TypeAlias = Mapping[str, Callable[[Array], Array]]
"""Functions from tokens to projections, named ``query``, ``key``, ``value`` and ``output``."""

EPSILON = 1e-6
"""Added to the mean square |z|² in `rms_normalise`."""


class HeadTokens(NamedTuple):
    """Projected tokens of all heads, and the values of the query tokens.

    Parameters
    ----------
    query : array, shape (..., heads, n, 2d)
    key : array, shape (..., heads, m, 2d)
    value : array, shape (..., heads, m, 2d_v)
    own_value : array, shape (..., heads, n, 2d_v), or None
        The value projection of each query token, None if the output does not depend on it.
    """

    query: Array
    key: Array
    value: Array
    own_value: Array | None


def project_tokens(
    parameters: Parameters,
    settings: Settings,
    query: Array,
    key: Array | None,
    value: Array | None,
    projections: Projections | None = None,
    *,
    xp: Namespace,
) -> HeadTokens:
    """Project tokens to the modes of all heads; `key` defaults to `query`, `value` to `key`."""

    def heads_of(name: str, x: Array) -> Array:
        heads = settings.heads_of(name)
        x = _split_heads(linear(parameters, name, x, projections, xp=xp), heads, xp=xp)
        if name in settings.normalised:
            x = rms_normalise(x, parameters[f"{name}_gain"], settings, xp=xp)
        return _repeat_heads(x, settings.heads // heads, xp=xp)

    key = query if key is None else key
    value = key if value is None else value
    values = heads_of("value", value)
    own_values: Array | None = None
    if settings.uses_own_value:
        own_values = values if value is query else heads_of("value", query)
    queries, keys = heads_of("query", query), heads_of("key", key)
    if settings.sphere:
        radius = positive(parameters["raw_radius"], settings, xp=xp)
        queries = append_mode(queries, None, settings, xp=xp)
        keys = append_mode(keys, radius, settings, xp=xp)
    return HeadTokens(queries, keys, values, own_values)


def linear(
    parameters: Parameters,
    name: str,
    x: Array,
    projections: Projections | None = None,
    *,
    xp: Namespace,
) -> Array:
    """Return x Wᵀ + b, by the function of that name if there are `projections`."""
    if projections is not None:
        return projections[name](x)
    y: Array = xp.matmul(x, xp.matrix_transpose(parameters[f"{name}_weight"]))
    bias = f"{name}_bias"
    return y + with_rank(parameters[bias], y.ndim) if bias in parameters else y


def rms_normalise(x: Array, gain: Array, settings: Settings, *, xp: Namespace) -> Array:
    """Return z over its root mean square |z|, times a gain per mode, (heads, d)."""
    z = read_tokens(x, settings.layout, xp=xp)
    root = xp.sqrt(xp.mean(square(z), axis=-1, keepdims=True) + EPSILON)
    gain = with_rank(gain[:, None, :], root.ndim)
    return join(scale(gain / root, z), settings.layout, x.dtype, xp=xp)


def append_mode(x: Array, radius: Array | None, settings: Settings, *, xp: Namespace) -> Array:
    """Append the mode √(R² − ‖z‖²) where R (heads,) is given, else a mode of zeros."""
    z = read_tokens(x, settings.layout, xp=xp)
    zero = xp.zeros_like(z.real[..., :1])
    mode = zero
    if radius is not None:
        length2 = norm2(z, xp=xp)[..., None]
        difference = with_rank(radius[:, None, None], length2.ndim) ** 2 - length2
        # two `where`s: the derivative of the root is infinite at zero
        inside = difference > 0.0
        root = xp.sqrt(xp.where(inside, difference, 1.0))
        mode = xp.where(inside, root, 0.0)
    extended = Pair(xp.concat([z.real, mode], axis=-1), xp.concat([z.imag, zero], axis=-1))
    return join(extended, settings.layout, x.dtype, xp=xp)


def project_estimates(
    parameters: Parameters,
    settings: Settings,
    mean: Array,
    precision: Any,
    own_value: Array | None,
    sde: SDE,
    projections: Projections | None = None,
    *,
    xp: Namespace,
) -> Array:
    """Return the layer's outputs from estimates (..., heads, n, 2d_v): gate, predict, project."""
    if own_value is not None:
        own_value = with_rank(own_value, mean.ndim)
    if settings.gated:
        assert own_value is not None
        mean = gated(parameters, settings, mean, precision, own_value, xp=xp)
    if settings.horizon:
        mean = predict(mean, sde, settings.horizon, layout=settings.layout)
    if settings.output == "innovation":
        assert own_value is not None
        mean = mean - own_value
    return linear(parameters, "output", _merge_heads(mean, xp=xp), projections, xp=xp)


def gated(
    parameters: Parameters,
    settings: Settings,
    mean: Array,
    precision: Any,
    own_value: Array,
    *,
    xp: Namespace,
) -> Array:
    """Return v + g (x̂ − v); the radial and the tangential part each have their own g."""
    axes = (..., None, None) if settings.form == "diagonal" else (..., None)
    prior = positive(parameters["raw_prior_precision"], settings, xp=xp)
    share = gate(precision, prior[axes])
    value = read_tokens(own_value, settings.layout, xp=xp)
    innovation = subtract(read_tokens(mean, settings.layout, xp=xp), value)
    if isinstance(share, RadialTangential):
        radial = project(innovation, value, xp=xp)
        tangential = subtract(innovation, radial)
        moved = add(
            scale(share.radial[..., None], radial), scale(share.tangential[..., None], tangential)
        )
    else:
        moved = scale(share if settings.form == "diagonal" else share[..., None], innovation)
    return join(add(value, moved), settings.layout, mean.dtype, xp=xp)


def _split_heads(x: Array, heads: int, *, xp: Namespace) -> Array:
    """Reshape (..., tokens, heads · channels) to (..., heads, tokens, channels)."""
    *leading, tokens, width = x.shape
    x = xp.reshape(x, (*leading, tokens, heads, width // heads))
    return _swap_heads_and_tokens(x, xp=xp)


def _repeat_heads(x: Array, times: int, *, xp: Namespace) -> Array:
    """Repeat each head of (..., heads, tokens, channels), so that heads of queries share it."""
    if times == 1:
        return x
    *leading, heads, tokens, channels = x.shape
    x = xp.broadcast_to(x[..., None, :, :], (*leading, heads, times, tokens, channels))
    return xp.reshape(x, (*leading, heads * times, tokens, channels))


def _merge_heads(x: Array, *, xp: Namespace) -> Array:
    """Reshape (..., heads, tokens, channels) to (..., tokens, heads · channels)."""
    x = _swap_heads_and_tokens(x, xp=xp)
    *leading, tokens, heads, channels = x.shape
    return xp.reshape(x, (*leading, tokens, heads * channels))


def _swap_heads_and_tokens(x: Array, *, xp: Namespace) -> Array:
    return xp.permute_dims(x, (*range(x.ndim - 3), x.ndim - 2, x.ndim - 3, x.ndim - 1))
