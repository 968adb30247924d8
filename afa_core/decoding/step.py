"""One step of decoding: new tokens against all before them (spec §9)."""

from __future__ import annotations

from typing import Unpack

from afa_core._array.arrays import (
    Array,
    DType,
    Namespace,
    Parameter,
    broadcast_shape,
    check_devices,
    compute_dtype,
    device_of,
    namespace,
    wide_dtype,
)
from afa_core._array.pairs import Layout, Pair, cast, split
from afa_core._checks.arguments import Arguments
from afa_core._checks.problem import cast_parameters
from afa_core._checks.shapes import check_axis
from afa_core._dispatch import registered
from afa_core.decoding.arguments import StepOptions, arrive, check_arrival, gather_step
from afa_core.decoding.cache import DecodeCache, Extended, extended
from afa_core.decoding.forms import Asked, Sight, Tokens, evaluate, model_of
from afa_core.decoding.merging import finished, merge
from afa_core.decoding.phases import Writing, phase, turned_back, value_phase
from afa_core.decoding.storage import STANDARD
from afa_core.model.estimates import Estimate
from afa_core.model.sde import SDE, DiagonalSDE, RadialTangentialSDE, check_instance
from afa_core.model.weighting import StudentT, Weighting


def decode_step(
    query: Array,
    key: Array,
    value: Array,
    sde: SDE,
    cache: DecodeCache,
    *,
    weighting: Weighting = StudentT(4.0),
    inverse_temperature: Parameter = 1.0,
    time: Parameter | None = None,
    mask: Array | None = None,
    anchor: Array | None = None,
    layout: Layout = "interleaved",
) -> tuple[Array, DecodeCache]:
    """Attend from new tokens to themselves and all tokens of a cache, and append them to it.

    What `attention` says of the last tokens of a sequence, in time that grows as the sequence:
    cached tokens are read once and never turned again.

    Parameters
    ----------
    query : array, shape (..., c, c_q)
        One token, or several of which each sees itself and those before it.
    key : array, shape (..., c, c_q)
    value : array, shape (..., c, c_v)
        Leading axes broadcast: queries that share keys have another axis than these, which is
        of length 1 in `key`, `value` and the cache.
    sde : IsotropicSDE, DiagonalSDE or RadialTangentialSDE
        The one that the cache was made with.
    cache : DecodeCache
        Not changed by the step.
    weighting : StudentT, Gaussian, Rational or Uniform
    inverse_temperature : array, shape (...), or float
    time : array, shape (..., c), or float for a single token, or None
        When the tokens come, floating or signed integers, not before those in the cache. By
        default one after the other from the latest token on, or from 0.
    mask : boolean array, shape (..., c), or None
        False hides a token, as a key, from itself and all that follow: a row that has ended.
    anchor : array, shape (..., c, c_v), or None
        As in `attention`, by default the tokens' own values.
    layout : {"interleaved", "halves"}

    Returns
    -------
    out : array, shape (..., c, c_v)
        Of the kind, layout and dtype of `value`.
    cache : DecodeCache
        With the tokens. NumPy and PyTorch write them into spare room, if it is no one's yet, and
        copy the cache otherwise: one that was continued before, or that derivatives may be taken
        in. Under `jax.jit` a token without room makes this result and all later ones NaN.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind, dtype or library.
    ValueError
        If shapes, devices or options do not fit each other, or the tokens do not fit the cache.

    References
    ----------
    Spec §9.

    Examples
    --------
    >>> import numpy as np
    >>> from afa_core import DecodeCache, IsotropicSDE, Noise
    >>> sde = IsotropicSDE(0.1, np.asarray([0.5]), Noise(0.2, 1.0, 1.0))
    >>> prompt, token = np.asarray([[1.0, 0.0], [0.9, 0.5]]), np.asarray([[0.5, 0.8]])
    >>> cache = DecodeCache.of(prompt, prompt, sde)
    >>> out, cache = decode_step(token, token, token, sde, cache)
    >>> out.shape, cache.used
    ((1, 2), 3)
    """
    a = Arguments(
        query,
        key,
        value,
        sde,
        weighting=weighting,
        inverse_temperature=inverse_temperature,
        anchor=anchor,
        layout=layout,
    )
    estimate, cache, xp = _step(a, cache, time, mask)
    return xp.astype(estimate.mean, value.dtype, copy=False), cache


def estimate_step(
    query: Array,
    key: Array,
    value: Array,
    sde: SDE,
    cache: DecodeCache,
    **options: Unpack[StepOptions],
) -> tuple[Estimate, DecodeCache]:
    """Return what `decode_step` returns together with its precision.

    Takes the arguments of `decode_step`, and raises its errors.

    Returns
    -------
    estimate : Estimate
    cache : DecodeCache

    References
    ----------
    Spec §9, §10.
    """
    a, time, mask = gather_step(query, key, value, sde, options)
    found, cache, xp = _step(a, cache, time, mask)
    return found._replace(mean=xp.astype(found.mean, value.dtype, copy=False)), cache


def _step(
    a: Arguments, cache: DecodeCache, time: Parameter | None, mask: Array | None
) -> tuple[Estimate, DecodeCache, Namespace]:
    xp = _check(a, cache, time, mask)
    dtype = compute_dtype(xp, a.query, a.key, a.value, cache.key)
    arrival = arrive(a, time, mask, dtype, xp=xp)
    step = extended(cache, arrival, xp=xp)
    by = phase(arrival.sde.frequency, step.times, dtype, xp=xp)
    query = cast(split(a.query, a.layout, xp=xp), dtype, xp=xp)
    asked = Asked(turned_back(query, by, xp=xp), step.times)
    wide = wide_dtype(xp, device_of(a.query))
    weighting, beta = (
        cast_parameters(x, dtype, wide, xp=xp) for x in (a.weighting, a.inverse_temperature)
    )
    arrays = [asked.query, *step.tokens, step.cache.key, step.cache.value]
    model = model_of(arrival.sde, weighting, beta, arrays, xp=xp)
    writing = Writing(
        value_phase(arrival.sde, by, step.times, xp=xp),
        _anchor(a, dtype, xp=xp),
        isinstance(a.sde, DiagonalSDE),
        a.layout,
        a.value.dtype,
    )
    states = [
        writing.state(evaluate(asked, *part, model, xp=xp), xp=xp)
        for part in _parts(cache, step, dtype, xp=xp)
    ]
    state = states[0] if len(states) == 1 else merge(*states)
    return finished(state, xp=xp), step.cache, xp


Part = tuple[Tokens, Sight]


def _parts(cache: DecodeCache, step: Extended, dtype: DType, *, xp: Namespace) -> list[Part]:
    """Return the sets of keys that are seen: one token sees the whole cache, itself included.

    Several tokens see the cache as it was, and of themselves what does not come later.
    """
    count = step.times.shape[-2]
    if count == 1:
        return [_cached(step.cache, dtype, xp=xp)]
    place = xp.arange(count, dtype=xp.int32, device=device_of(step.tokens.key))
    visible = place[None, :] <= place[:, None]
    if step.visible is not None:
        visible = xp.logical_and(visible, xp.matrix_transpose(step.visible))
    own = step.tokens, Sight(visible, clean=False)
    if not cache.key.shape[-2] or registered("storage", xp, STANDARD).read(cache.used) == 0:
        return [own]
    return [_cached(cache, dtype, xp=xp), own]


def _cached(cache: DecodeCache, dtype: DType, *, xp: Namespace) -> Part:
    """Return the tokens of a cache; which of them are keys is the same for every query."""
    arrays = [cache.key, cache.value, cache.key2, cache.times]
    visible = cache.visible
    if registered("storage", xp, STANDARD).masked:
        place = xp.arange(cache.key.shape[-2], dtype=xp.int32, device=device_of(cache.key))
        filled = (place < cache.used)[:, None]
        visible = filled if visible is None else xp.logical_and(filled, visible)
    else:
        arrays = [x[..., : cache.used, :] for x in arrays]
        visible = None if visible is None else visible[..., : cache.used, :]
    key, value, key2 = (xp.astype(x, dtype, copy=False) for x in arrays[:3])
    tokens = Tokens(key, value, key2, arrays[3])
    return tokens, Sight(None if visible is None else xp.matrix_transpose(visible), clean=True)


def _anchor(a: Arguments, dtype: DType, *, xp: Namespace) -> Pair | None:
    if not isinstance(a.sde, RadialTangentialSDE):
        return None
    return cast(split(a.value if a.anchor is None else a.anchor, a.layout, xp=xp), dtype, xp=xp)


def _check(
    a: Arguments, cache: DecodeCache, time: Parameter | None, mask: Array | None
) -> Namespace:
    check_instance("cache", cache, DecodeCache)
    xp, shapes = check_arrival(a, "time", time, mask)
    check_axis("query", a.query, -2, a.key.shape[-2], "the tokens of `key`")
    if not a.key.shape[-2]:
        msg = (
            f"`key` must have a token at least, got shape {tuple(a.key.shape)}. Leave out the step."
        )
        raise ValueError(msg)
    namespace(key=a.key, **{"cache.key": cache.key})
    check_devices(xp, key=a.key, **{"cache.key": cache.key})
    per_mode = 2 if xp.isdtype(a.key.dtype, "real floating") else 1
    for name, own, kept in (("key", a.key, cache.key), ("value", a.value, cache.value)):
        modes, cached = own.shape[-1] // per_mode, kept.shape[-1] // 2
        if modes != cached:
            msg = (
                f"`{name}` must have {cached} modes like those in `cache`, got {modes}. "
                "Pass the cache that these tokens continue."
            )
            raise ValueError(msg)
    shapes |= {"cache.key": cache.key.shape[:-2], "cache.value": cache.value.shape[:-2]}
    broadcast_shape(shapes | {"cache.times": cache.times.shape[:-2]})
    return xp
