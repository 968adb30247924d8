"""The layer: project tokens to complex modes of heads, filter, project back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from afa_core._array.arrays import (
    Array,
    Namespace,
    check_array,
    check_devices,
    namespace,
)
from afa_core._checks.arguments import check_boolean
from afa_core._checks.shapes import check_axis
from afa_core.attention import attention, attention_weights, estimate
from afa_core.decoding.cache import DecodeCache
from afa_core.decoding.step import estimate_step
from afa_core.layer.parameters import Parameters, positive, sde_of, weighting_of
from afa_core.layer.projections import finished, projected
from afa_core.layer.settings import Settings
from afa_core.model.estimates import Estimate


class Attended(NamedTuple):
    """What a layer says of its queries.

    Parameters
    ----------
    output : array, shape (..., n, features)
    precision : array or None
        p of `Estimate`, (..., heads, n) or as its form has it, where asked for.
    weights : array or None
        Those of `attention_weights`, (..., heads, n, m), where asked for.
    """

    output: Array
    precision: Any = None
    weights: Any = None


def attend(
    p: Parameters,
    s: Settings,
    query: Array,
    key: Array | None = None,
    value: Array | None = None,
    *,
    query_times: Array | None = None,
    key_times: Array | None = None,
    causal: bool = True,
    mask: Array | None = None,
    key_mask: Array | None = None,
    need_precision: bool = False,
    need_weights: bool = False,
    implementation: str = "auto",
    tile: int | None = None,
    ring: Callable[..., Estimate] | None = None,
) -> Attended:
    """Filter tokens by a layer.

    Parameters
    ----------
    p : mapping of str to array
        The parameters, as `initial` names them.
    s : Settings
    query : array, shape (..., n, features)
        Real. Leading axes are those of the batch.
    key, value : array, shape (..., m, features), or None
        By default the queries, and the keys.
    query_times : array, shape (..., n), or None
    key_times : array, shape (..., m), or None
        By default those of the queries where these are the keys; else as in `attention`.
    causal : bool
        Whether a query sees the keys at or before it only.
    mask : boolean array, broadcastable to (..., heads, n, m), or None
        True attends.
    key_mask : boolean array, shape (..., m), or None
        True for tokens, False for padding, which leaves no trace whatever is in it.
    need_precision, need_weights : bool
        Whether to return them; the weights stand in memory for all pairs.
    implementation, tile
        As in `attention`.
    ring : callable or None
        ``ring_estimate`` of afa_torch or afa_jax, told its devices: tokens are then the share of
        this device, which is cut along the sequence. It takes no `mask`, and gives no weights.

    Returns
    -------
    Attended

    Raises
    ------
    TypeError
        If an argument is of the wrong kind, dtype or library.
    ValueError
        If shapes, devices or options do not fit each other.

    References
    ----------
    Spec §4–§6, §10.
    """
    xp = _check(p, s, query=query, key=key, value=value)
    sde = sde_of(p, s, xp=xp)
    if key is None and key_times is None:
        key_times = query_times
    keys = query if key is None else key
    seen = _visible(mask, key_mask, keys, xp=xp)
    query_times = _for_heads("query_times", query_times, query, "query")
    key_times = _for_heads("key_times", key_times, keys, "key")
    if key_mask is not None:
        keys, value = (_emptied(x, key_mask, xp=xp) for x in (keys, value))
        key_times = _told(key_times, key_mask, xp=xp)
        if key is None:
            query, query_times = keys, _told(query_times, key_mask, xp=xp)
        else:
            key = keys
    tokens = projected(p, s, query, key, value, xp=xp)
    options: dict[str, Any] = {
        "weighting": weighting_of(p, s, xp=xp),
        "inverse_temperature": positive(p["raw_inverse_temperature"], s, xp=xp),
        "query_times": query_times,
        "key_times": key_times,
        "causal": causal,
        "mask": seen,
        "anchor": tokens.own if s.form == "radial_tangential" else None,
        "layout": s.layout,
    }
    run: dict[str, Any] = {"implementation": implementation, "tile": tile, **options}
    precision = None
    if ring is not None:
        _check_ring(mask=mask, need_weights=need_weights or None)
        del run["mask"], run["implementation"]
        run["key_mask"] = None if key_mask is None else key_mask[..., None, :]
        mean, precision = ring(tokens.query, tokens.key, tokens.value, sde, **run)
    elif need_precision or s.gated:
        mean, precision = estimate(tokens.query, tokens.key, tokens.value, sde, **run)
    else:
        mean = attention(tokens.query, tokens.key, tokens.value, sde, **run)
    output = finished(p, s, mean, precision, tokens.own, sde, xp=xp)
    weights = None
    if need_weights:
        weights = attention_weights(tokens.query, tokens.key, tokens.value, sde, **options)
    return Attended(output, precision if need_precision else None, weights)


def empty_cache(
    p: Parameters, s: Settings, tokens: Array, *, capacity: int | None = None, **given: Any
) -> DecodeCache:
    """Return a cache of no token for tokens like those given, (..., any number, features).

    `given` are `times` and `mask`, as in `DecodeCache.empty`, of shape (..., any number).
    """
    xp = _check(p, s, tokens=tokens)
    own = projected(p, s, tokens, None, None, xp=xp)
    given = {name: _for_heads(name, x, tokens, "tokens") for name, x in given.items()}
    sde = sde_of(p, s, xp=xp)
    return DecodeCache.empty(own.key, own.value, sde, capacity=capacity, layout=s.layout, **given)


def step(
    p: Parameters,
    s: Settings,
    tokens: Array,
    cache: DecodeCache,
    *,
    time: Array | None = None,
    mask: Array | None = None,
    need_precision: bool = False,
) -> tuple[Attended, DecodeCache]:
    """Filter new tokens against a cache, and append them to it.

    Parameters
    ----------
    p : mapping of str to array
    s : Settings
    tokens : array, shape (..., c, features)
        One token, or several: a prompt can come in pieces.
    cache : DecodeCache
        From `empty_cache`, or from the step before.
    time : array, shape (..., c), or None
        By default one after the other.
    mask : boolean array, shape (..., c), or None
        False hides a token from all that follow.
    need_precision : bool

    Returns
    -------
    Attended
        As `attend` says of the last c tokens of a sequence.
    cache : DecodeCache

    Raises
    ------
    TypeError, ValueError
        As `decode_step` does.

    References
    ----------
    Spec §9.
    """
    xp = _check(p, s, tokens=tokens)
    sde = sde_of(p, s, xp=xp)
    own = projected(p, s, tokens, None, None, xp=xp)
    (mean, precision), cache = estimate_step(
        own.query,
        own.key,
        own.value,
        sde,
        cache,
        weighting=weighting_of(p, s, xp=xp),
        inverse_temperature=positive(p["raw_inverse_temperature"], s, xp=xp),
        time=_for_heads("time", time, tokens, "tokens"),
        mask=_for_heads("mask", mask, tokens, "tokens"),
        layout=s.layout,
    )
    output = finished(p, s, mean, precision, own.own, sde, xp=xp)
    return Attended(output, precision if need_precision else None), cache


def _for_heads(name: str, x: Array | None, tokens: Array, of: str) -> Array | None:
    """Insert the axis of heads into what each token has one of, (..., tokens)."""
    if x is None:
        return None
    check_array(name, x)
    check_axis(name, x, -1, tokens.shape[-2], f"the tokens of `{of}`")
    return x[..., None, :]


def _emptied(x: Any, real: Array, *, xp: Namespace) -> Any:
    """Return tokens with zeros for padding, which else would spoil gradients of projections."""
    return None if x is None else xp.where(real[..., None], x, 0.0)


def _told(times: Array | None, real: Array, *, xp: Namespace) -> Array | None:
    """Return times (..., 1, m) that are finite wherever a token is none."""
    if times is None:
        return None
    told = xp.logical_or(real[..., None, :], xp.isfinite(times))
    return xp.where(told, times, 0)


def _visible(
    mask: Array | None, key_mask: Array | None, key: Array, *, xp: Namespace
) -> Array | None:
    """Return which keys are seen, by which queries of which heads where that is not the same."""
    seen = _for_heads("key_mask", key_mask, key, "key")
    if seen is None:
        return mask
    for name, x in (("key_mask", seen), ("mask", mask)):
        if x is not None:
            check_boolean(name, x, xp=xp)
    seen = seen[..., None, :]
    return seen if mask is None else xp.logical_and(mask, seen)


def _check_ring(**given: Any) -> None:
    for name, x in given.items():
        if x is not None:
            msg = (
                f"`{name}` cannot be had on a ring, whose devices never hold all pairs. "
                "Leave it out; `key_mask` hides keys."
            )
            raise ValueError(msg)


def _check(p: Parameters, s: Settings, **given: Array | None) -> Namespace:
    arrays = {name: x for name, x in given.items() if x is not None}
    for name, x in arrays.items():
        check_array(name, x)
        if x.ndim < 2 or x.shape[-1] != s.features:
            msg = (
                f"`{name}` must have shape (..., tokens, {s.features}), the features of the layer, "
                f"got {tuple(x.shape)}. Make the layer for these, or project them first."
            )
            raise ValueError(msg)
    named = {**arrays, "query_weight": p["query_weight"]}
    xp = namespace(**named)
    check_devices(xp, **named)
    return xp
