"""The inputs of a layer's call: checks, axes of heads, and padding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from afa_core._array.arrays import (
    Array,
    Namespace,
    check_array,
    check_devices,
    dtype_name,
    in_one_rank,
    namespace,
)
from afa_core._checks.masks import check_boolean
from afa_core._checks.shapes import check_axis
from afa_core.layer.parameters import Parameters
from afa_core.layer.settings import Settings


class Inputs(NamedTuple):
    """Tokens, and their times and masks with an axis of heads.

    Parameters
    ----------
    query : array, shape (..., n, features)
    key, value : array, shape (..., m, features), or None
        None is the queries, and the keys.
    query_times : array, shape (..., 1, n), or None
    key_times : array, shape (..., 1, m), or None
    mask : boolean array, broadcastable to (..., heads, n, m), or None
    logit_bias : array, broadcastable to (..., heads, n, m), or None
        Finite where a pair is visible.
    """

    query: Array
    key: Array | None
    value: Array | None
    query_times: Array | None
    key_times: Array | None
    mask: Array | None
    logit_bias: Array | None = None


def check_tokens(parameters: Parameters, settings: Settings, **tokens: Array | None) -> Namespace:
    """Return the namespace of tokens and parameters; check kinds, shapes and devices."""
    given = {name: x for name, x in tokens.items() if x is not None}
    for name, x in given.items():
        check_array(name, x)
        features = settings.features_of(name)
        if x.ndim < 2 or x.shape[-1] != features:
            msg = (
                f"`{name}` must have shape (..., tokens, {features}), the features of the "
                f"layer, got {tuple(x.shape)}. Make the layer for these, or project them first."
            )
            raise ValueError(msg)
    _check_defaults(settings, given)
    for name, x in parameters.items():
        check_array(name, x)
    first = "query_weight" if "query_weight" in parameters else next(iter(parameters))
    arrays = {**given, first: parameters[first]}
    xp = namespace(**arrays)
    check_devices(xp, **arrays)
    return xp


def _check_defaults(settings: Settings, given: Mapping[str, Array]) -> None:
    """Raise ValueError unless tokens that stand for others have the features of those."""
    instead = "key" if "key" in given else "query" if "query" in given else "tokens"
    for name in ("key", "value"):
        features, arrived = settings.features_of(name), settings.features_of(instead)
        if name not in given and features != arrived:
            msg = (
                f"`{name}` must be given, with {features} features, got None: it does not default "
                f"to `{instead}`, which has {arrived}."
            )
            raise ValueError(msg)


def prepare(inputs: Inputs, key_mask: Array | None, *, xp: Namespace) -> Inputs:
    """Return inputs with an axis of heads in times and masks, and zeros in place of padding."""
    query, key, value, query_times, key_times, mask, bias = inputs
    keys = query if key is None else key
    rank = max(query.ndim, keys.ndim)
    mask, bias = (pairs_with_heads(n, x, rank) for n, x in (("mask", mask), ("logit_bias", bias)))
    mask = _combine_masks(mask, key_mask, keys, xp=xp)
    if bias is not None:
        mask, bias = _split_bias(mask, bias, xp=xp)
    query_times = with_heads("query_times", query_times, query, "query")
    key_times = with_heads("key_times", key_times, keys, "key")
    if key_mask is not None:
        if key is None:
            query = _zero_padding(query, key_mask, xp=xp)
            query_times = _finite_times(query_times, key_mask, xp=xp)
        else:
            key = _zero_padding(key, key_mask, xp=xp)
        value = None if value is None else _zero_padding(value, key_mask, xp=xp)
        key_times = _finite_times(key_times, key_mask, xp=xp)
    return Inputs(query, key, value, query_times, key_times, mask, bias)


def pairs_with_heads(name: str, x: Array | None, rank: int) -> Array | None:
    """Insert an axis of heads into an array of pairs that has one axis of each batch axis.

    `rank` is that of the tokens, (..., tokens, features).
    """
    if x is None:
        return None
    check_array(name, x)
    return x[..., None, :, :] if x.ndim == rank > 2 else x


def _split_bias(mask: Array | None, bias: Array, *, xp: Namespace) -> tuple[Array, Array]:
    """Return a mask that hides pairs of bias −∞ too, and the bias with zeros in their place."""
    if not xp.isdtype(bias.dtype, "real floating"):
        msg = (
            f"`logit_bias` must have a real floating dtype, got {dtype_name(bias.dtype)}. Pass a "
            "boolean array, which is True where a query may attend, as `mask`."
        )
        raise TypeError(msg)
    if mask is not None:
        check_boolean("mask", mask, xp=xp)
    shown = bias != -xp.inf
    visible = shown if mask is None else xp.logical_and(*in_one_rank(mask, shown))
    return visible, xp.where(shown, bias, 0.0)


def _combine_masks(
    mask: Array | None, key_mask: Array | None, key: Array, *, xp: Namespace
) -> Array | None:
    """Return the mask of pairs that a mask and a key padding mask allow both."""
    keys = with_heads("key_mask", key_mask, key, "key")
    if keys is None:
        return mask
    for name, x in (("key_mask", keys), ("mask", mask)):
        if x is not None:
            check_array(name, x)
            check_boolean(name, x, xp=xp)
    keys = keys[..., None, :]  # (..., 1, 1, m)
    return keys if mask is None else xp.logical_and(*in_one_rank(mask, keys))


def with_heads(name: str, x: Array | None, tokens: Array, of: str) -> Array | None:
    """Insert an axis of heads into an array with one entry per token, (..., tokens)."""
    if x is None:
        return None
    check_array(name, x)
    check_axis(name, x, -1, tokens.shape[-2], f"the tokens of `{of}`")
    return x[..., None, :]


def _zero_padding(x: Array, key_mask: Array, *, xp: Namespace) -> Array:
    """Return tokens with zeros in place of padding: NaN would reach the projections' gradients."""
    used, x = in_one_rank(key_mask[..., None], x)
    return xp.where(used, x, 0.0)


def _finite_times(times: Array | None, key_mask: Array, *, xp: Namespace) -> Array | None:
    """Return times (..., 1, m) with zeros in place of non-finite times of padding."""
    if times is None:
        return None
    used, times = in_one_rank(key_mask[..., None, :], times)
    return xp.where(xp.logical_or(used, xp.isfinite(times)), times, 0)
