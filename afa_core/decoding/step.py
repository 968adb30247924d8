"""One step of decoding: new tokens against all before them (spec §9)."""

from __future__ import annotations

from typing import Any, Unpack

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
    with_rank,
)
from afa_core._array.deviceless import known_namespace
from afa_core._array.pairs import Layout, Pair, bounded_modes, cast, split
from afa_core._checks.arguments import Arguments
from afa_core._checks.evaluation import tolerance_in
from afa_core._checks.parameters import aligned, cast_parameters
from afa_core._checks.problem import visible_variance
from afa_core._checks.shapes import check_axis
from afa_core.decoding.arguments import (
    StepOptions,
    check_new_tokens,
    collect_step_arguments,
    new_tokens,
)
from afa_core.decoding.cache import DecodeCache, append_tokens
from afa_core.decoding.early_exit import sums_of
from afa_core.decoding.execution import storage_of
from afa_core.decoding.forms import Queries, model_spec
from afa_core.decoding.influence import check_filters
from afa_core.decoding.key_sets import attending, key_sets
from afa_core.decoding.merging import estimate_of, merge
from afa_core.decoding.output import OutputSpec
from afa_core.decoding.phases import token_phases, unrotate, value_phases
from afa_core.decoding.tiled import estimate_in_tiles
from afa_core.model.estimates import Estimate
from afa_core.model.sde import (
    SDE,
    DiagonalSDE,
    RadialTangential,
    RadialTangentialSDE,
    check_instance,
)
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
    correlated: bool = False,
    query_variance: Array | RadialTangential | None = None,
    tolerance: float | None = None,
) -> tuple[Array, DecodeCache]:
    """Attend from new tokens to themselves and all tokens of a cache, and append them to it.

    The output is that of `attention` for the last tokens of a sequence, in time proportional to
    its length: the tokens of the cache are read once and not rotated again. Long pieces are
    evaluated in tiles; all pairs are formed in JAX, and in PyTorch where it compiles or takes
    derivatives.

    Parameters
    ----------
    query : array, shape (..., c, c_q)
        One new token, or several, each of which sees itself and the tokens before it.
    key : array, shape (..., c, c_q)
    value : array, shape (..., c, c_v)
        Leading axes broadcast: queries that share keys have one more axis, which has length 1 in
        `key`, `value` and the cache.
    sde : IsotropicSDE, DiagonalSDE or RadialTangentialSDE
        The one that the cache was made with.
    cache : DecodeCache
        Not changed by the step.
    weighting : StudentT, Gaussian, Rational or Uniform
    inverse_temperature : array, shape (...), or float
    time : array, shape (..., c), or float for a single token, or None
        Times of the new tokens, floating or signed integers, not before those in the cache. By
        default they follow the latest token in steps of 1, or start at 0.
    mask : boolean array, shape (..., c), or None
        False hides a token, as a key, from itself and all later queries: a row that has ended.
    anchor : array, shape (..., c, c_v), or None
        As in `attention`; by default the values of the new tokens.
    layout : {"interleaved", "halves"}
    correlated : bool
        Whether keys are correlated, as in `attention`; the same as for the cache.
    query_variance : array, shape (..., c), or None
        γ² of each query, in place of that of `sde`; (..., c, 1) or (..., c, d) for `DiagonalSDE`,
        a `RadialTangential` of two for `RadialTangentialSDE`.
    tolerance : float or None
        τ ≥ 0, for `correlated` keys, as in `attention`: in a long cache, blocks of far keys that
        cannot matter are left out where values can be read (NumPy, and PyTorch on a CPU). None
        stands for the rounding of the dtype, 0 for every key.

    Returns
    -------
    out : array, shape (..., c, c_v)
        Of the kind, layout and dtype of `value`.
    cache : DecodeCache
        With the new tokens. NumPy and PyTorch write them to the next slots where those are free,
        and copy the cache otherwise: where another step has continued it, or gradients may be
        taken with respect to it. Under `jax.jit` a token beyond the capacity makes this result
        and all later ones NaN.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind, dtype or library.
    ValueError
        If shapes, devices or options do not fit each other, or the tokens do not fit the cache.

    References
    ----------
    Spec §9; §14 for correlated keys.

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
    arguments = Arguments(
        query,
        key,
        value,
        sde,
        weighting=weighting,
        inverse_temperature=inverse_temperature,
        anchor=anchor,
        layout=layout,
        correlated=correlated,
        query_variance=query_variance,
        tolerance=tolerance,
    )
    estimate, cache, xp = _step(arguments, cache, time, mask)
    return xp.astype(estimate.mean, value.dtype, copy=False), cache


def estimate_step(
    query: Array,
    key: Array,
    value: Array,
    sde: SDE,
    cache: DecodeCache,
    **options: Unpack[StepOptions],
) -> tuple[Estimate, DecodeCache]:
    """Return the output of `decode_step` with its precision.

    Takes the arguments of `decode_step`, and raises its errors.

    Returns
    -------
    estimate : Estimate
    cache : DecodeCache

    References
    ----------
    Spec §9, §10, §14.
    """
    arguments, time, mask = collect_step_arguments(query, key, value, sde, options)
    estimate, cache, xp = _step(arguments, cache, time, mask)
    return estimate._replace(mean=xp.astype(estimate.mean, value.dtype, copy=False)), cache


def _step(
    arguments: Arguments, cache: DecodeCache, time: Parameter | None, mask: Array | None
) -> tuple[Estimate, DecodeCache, Namespace]:
    """Return the estimates in the dtype of the computation, the cache and the namespace."""
    known = known_namespace(type(arguments.query))
    if known is not None and mask is None and isinstance(cache, DecodeCache):
        found = storage_of(known).step(arguments, cache, time, _check)
        if found is not None:
            return *found, known
    xp, shape = _check(arguments, cache, time, mask)
    leading = len(shape)
    dtype = compute_dtype(xp, arguments.query, arguments.key, arguments.value, cache.key)
    new = new_tokens(arguments, time, mask, dtype, xp=xp)
    step = append_tokens(cache, new, xp=xp).with_axes(leading)
    own = arguments, step.times, attending(cache, step, xp=xp), leading
    modes, anchor, times, variance = _queries(*own, dtype, xp=xp)
    sde = aligned(new.sde, leading)
    phases = token_phases(sde.frequency, times, dtype, xp=xp)
    query = unrotate(bounded_modes(modes, xp=xp), phases, xp=xp)
    queries = Queries(query, times, variance, step.filter)
    wide = wide_dtype(xp, device_of(arguments.query))
    weighting, beta = (
        aligned(cast_parameters(x, dtype, wide, xp=xp), leading)
        for x in (arguments.weighting, arguments.inverse_temperature)
    )
    arrays = [*queries.arrays, *(anchor or ()), *step.tokens[:4], step.cache.key, step.cache.value]
    spec = model_spec(sde, weighting, beta, arrays, xp=xp)
    output = OutputSpec(
        value_phases(sde, phases, times, xp=xp),
        anchor,
        isinstance(sde, DiagonalSDE),
        arguments.layout,
        arguments.value.dtype,
    )
    share = tolerance_in(dtype, arguments.tolerance, xp=xp)
    found = estimate_in_tiles(queries, step.cache, spec, output, shape, share, xp=xp)
    if found is None:
        keys = key_sets(cache, step, dtype, xp=xp)
        sums = sums_of(queries, keys, step.cache.finite, share, spec, xp=xp)
        states = [output.partial_state(each, xp=xp) for each in sums]
        found = estimate_of(states[0] if len(states) == 1 else merge(*states), xp=xp)
    return found, step.cache, xp


def _queries(
    arguments: Arguments,
    times: Array,
    attends: Array | None,
    leading: int,
    dtype: DType,
    *,
    xp: Namespace,
) -> tuple[Pair, Pair | None, Array, Any]:
    """Return queries, anchors, times and variances, zero or 1 where a query attends to no key."""

    def shown(x: Array) -> Array:
        return x if attends is None else xp.where(attends, x, 0.0)

    def modes(x: Array) -> Pair:
        pair = split(with_rank(x, leading + 2), arguments.layout, xp=xp)
        return Pair(*(shown(each) for each in cast(pair, dtype, xp=xp)))

    anchor = arguments.value if arguments.anchor is None else arguments.anchor
    directional = isinstance(arguments.sde, RadialTangentialSDE)
    per_mode = isinstance(arguments.sde, DiagonalSDE)
    variance = cast_parameters(arguments.query_variance, dtype, dtype, xp=xp)
    variance = aligned(variance, leading, 2 if per_mode else 1)
    if attends is not None:
        variance = visible_variance(variance, attends[..., 0], per_mode=per_mode, xp=xp)
    return modes(arguments.query), modes(anchor) if directional else None, shown(times), variance


def _check(
    arguments: Arguments, cache: DecodeCache, time: Parameter | None, mask: Array | None
) -> tuple[Namespace, tuple[int, ...]]:
    """Check the arguments of a step, and that the cache has tokens like the new ones.

    Returns the namespace, and the leading axes.
    """
    check_instance("cache", cache, DecodeCache)
    xp, shapes = check_new_tokens(arguments, "time", time, mask)
    key, value = arguments.key, arguments.value
    check_axis("query", arguments.query, -2, key.shape[-2], "the tokens of `key`")
    if not key.shape[-2]:
        msg = f"`key` must have a token at least, got shape {tuple(key.shape)}. Leave out the step."
        raise ValueError(msg)
    namespace(key=key, **{"cache.key": cache.key})
    check_devices(xp, key=key, **{"cache.key": cache.key})
    per_mode = 2 if xp.isdtype(key.dtype, "real floating") else 1
    _check_correlated(arguments, cache, key.shape[-1] // per_mode)
    for name, own, cached in (("key", key, cache.key), ("value", value, cache.value)):
        modes, cached_modes = own.shape[-1] // per_mode, cached.shape[-1] // 2
        if modes != cached_modes:
            msg = (
                f"`{name}` must have {cached_modes} modes like those in `cache`, got {modes}. "
                "Pass the cache that these tokens continue."
            )
            raise ValueError(msg)
    for name in ("key", "value", "times", "influence"):
        if (x := getattr(cache, name)) is not None:
            shapes[f"cache.{name}"] = x.shape[:-2]
    return xp, broadcast_shape(shapes)


def _check_correlated(arguments: Arguments, cache: DecodeCache, modes: int) -> None:
    """Check that a cache has filters like those of the arguments, or none like them."""
    made = cache.state is not None
    if arguments.correlated != made:
        msg = (
            f"`correlated` must be {made} like that of `cache`, got {arguments.correlated}. "
            "Pass the same to the cache when you make it and to every step."
        )
        raise ValueError(msg)
    if cache.state is not None:
        check_filters(cache.state, arguments.sde, modes)
