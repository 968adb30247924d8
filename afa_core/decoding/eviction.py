"""Eviction of the oldest tokens of a cache, so that its memory stays bounded (spec §14)."""

from __future__ import annotations

from functools import reduce
from math import inf, log
from operator import add
from typing import Any, get_args

from afa_core._array.arrays import (
    Array,
    Namespace,
    append_axes,
    device_of,
    in_one_rank,
    is_number,
    namespace,
)
from afa_core._checks.parameters import aligned, cast_parameters, model_in
from afa_core.decoding.cache import DecodeCache
from afa_core.decoding.execution import storage_of
from afa_core.decoding.influence import check_filters, dynamics
from afa_core.model.estimates import Estimate
from afa_core.model.gains import FilterGains
from afa_core.model.sde import (
    SDE,
    DiagonalSDE,
    RadialTangential,
    RadialTangentialSDE,
    check_instance,
    check_sde,
)
from afa_core.model.weighting import StudentT, Weighting

BUFFERS = "key", "value", "key2", "times", "visible", "influence"


def evict(
    cache: DecodeCache,
    sde: SDE,
    tolerance: float,
    *,
    norm: float | None = None,
    weighting: Weighting = StudentT(4.0),
) -> DecodeCache:
    """Return a cache of correlated keys without its oldest tokens, once they hardly matter.

    The tokens up to b have together the influence r = e^{C − C_b} on the estimate of the latest
    token, and at most that on all later ones. They are removed where it is small enough in every
    head: r ≤ τ, or r ≤ τ w(4B²/Σ_min) if queries and keys have a length of at most B. Call it after
    each step: nothing changes until half of the tokens or more can go, so that copying costs little
    and the cache has at most twice the tokens that it needs.

    Parameters
    ----------
    cache : DecodeCache
        Made with ``correlated=True``. Not changed.
    sde : IsotropicSDE, DiagonalSDE or RadialTangentialSDE
        The one that the cache was made with. Its γ² must not be greater than that of any
        `query_variance` of steps to come.
    tolerance : float
        τ, between 0 and 1.
    norm : float or None
        B ≥ ‖q‖, ‖k‖, of all tokens to come and in the cache; not checked. Robust weights then have
        a floor, and at β = 1 no later estimate changes by more than 2τ/(1 − τ) max‖v‖ for each
        mode of `DiagonalSDE`, √2 times that for `RadialTangentialSDE`. None gives no such promise:
        where all near keys are outliers to a later query, it may need what has been removed, and
        `evicted_share` tells by how much.
    weighting : StudentT, Gaussian, Rational or Uniform
        That of the steps; only with `norm`.

    Returns
    -------
    DecodeCache
        The filter, its times and later steps go on as before.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind.
    ValueError
        If keys are not correlated, a number is out of range, or the cache is traced.

    References
    ----------
    Spec §14.

    Examples
    --------
    >>> import numpy as np
    >>> from afa_core import DecodeCache, IsotropicSDE, Noise
    >>> sde = IsotropicSDE(0.1, np.asarray([0.5]), Noise(1.0, 1.0, 1.0))
    >>> tokens = np.ones((100, 2))
    >>> cache = DecodeCache.of(tokens, tokens, sde, correlated=True)
    >>> evict(cache, sde, 1e-6).used
    16
    """
    xp = _check(cache, sde)
    _check_number("tolerance", tolerance, "between 0 and 1", 1.0)
    check_instance("weighting", weighting, *get_args(Weighting))
    log_limit: Any = log(tolerance)
    if norm is not None:
        _check_number("norm", norm, "positive and finite", inf)
        log_limit = log_limit + _log_least_weight(cache, sde, weighting, norm, xp=xp)
    used = _known(cache.used, xp=xp)
    log_kept = _log_kept(cache, used)
    small = reduce(add, _state(cache).log_kept) - log_kept <= log_limit  # (..., used, s)
    others = tuple(axis for axis in range(small.ndim) if axis != small.ndim - 2)
    count = _known(xp.sum(xp.astype(xp.all(small, axis=others), xp.int32)), xp=xp)
    return cache if 2 * count < max(used, 1) else _without(cache, count, used, xp=xp)


def evicted_share(estimate: Estimate, cache: DecodeCache, sde: SDE) -> Array:
    """Return the share of the weight of a row that evicted tokens may have had.

    With their influence r = e^{C − C_b} and the weight Z = Σ_j a_j w_j of the tokens that are left
    the share is r/(r + Z): at β = 1 eviction changes the estimate by at most 2 max‖v‖ r/(r + Z).

    Parameters
    ----------
    estimate : Estimate
        Of `estimate_step`; its last row, if that token is visible.
    cache : DecodeCache
        That the step returned.
    sde : IsotropicSDE, DiagonalSDE or RadialTangentialSDE
        That of the step.

    Returns
    -------
    array, shape (..., s)
        For each of s filters: one for each mode of `DiagonalSDE`, a radial and a tangential one
        for `RadialTangentialSDE`, and otherwise a single one. Zero if nothing has been evicted.

    Raises
    ------
    TypeError, ValueError
        As `evict` does.

    References
    ----------
    Spec §14, equation (14.5).
    """
    check_instance("estimate", estimate, Estimate)
    xp = _check(cache, sde)
    state, precision = _state(cache), estimate.precision
    if isinstance(precision, RadialTangential):
        precision = xp.stack([*precision], axis=-1)
    elif not isinstance(sde, DiagonalSDE):
        precision = precision[..., None]
    precision = precision[..., -1, :]
    if cache.evicted is None:
        return xp.zeros_like(precision)
    wide = state.gain.dtype
    model = aligned(model_in(sde, wide, wide, xp=xp), cache.key.ndim - 2)
    measurement = dynamics(model, cache.latest[..., 0], xp=xp).measurement
    influence = xp.exp(reduce(add, state.log_kept) - cache.evicted)[..., 0, :]
    precision, gained, influence = in_one_rank(
        precision, (state.gain * measurement)[..., 0, :], influence
    )
    left = precision * gained
    some = influence > 0.0
    return xp.where(some, influence / xp.where(some, influence + left, 1.0), 0.0)


def _state(cache: DecodeCache) -> FilterGains:
    assert cache.state is not None
    return cache.state


def _log_kept(cache: DecodeCache, used: int) -> Array:
    """Return C of the tokens of a cache, (..., used, s)."""
    assert cache.influence is not None
    return cache.influence[..., :used, -_state(cache).gain.shape[-1] :]


def _without(cache: DecodeCache, count: int, used: int, *, xp: Namespace) -> DecodeCache:
    """Return a cache of so many tokens without the oldest ones, in buffers of its own."""
    names = [name for name in BUFFERS if getattr(cache, name) is not None]
    buffers = [getattr(cache, name) for name in names]
    empty, rest = ([x[..., part, :] for x in buffers] for part in (slice(0), slice(count, used)))
    slots = None if cache.capacity is None else _known(cache.capacity, xp=xp)
    fields: dict[str, Any] = dict(
        zip(names, storage_of(xp).append(empty, rest, 0, slots, xp=xp), strict=True)
    )
    finite = [xp.all(xp.isfinite(x)) for x in rest[1:3]]
    evicted = _log_kept(cache, used)[..., count - 1 : count, :]
    return cache._replace(
        **fields, used=used - count, finite=reduce(xp.logical_and, finite), evicted=evicted
    )


def _log_least_weight(
    cache: DecodeCache, sde: SDE, weighting: Weighting, norm: float, *, xp: Namespace
) -> Array:
    """Return log w(4B²/Σ_min), (..., 1, 1), with Σ_min = γ² + min(η², σ²/2μ)."""
    wide = _state(cache).gain.dtype
    leading = cache.key.ndim - 2
    model = aligned(model_in(sde, wide, wide, xp=xp), leading)
    noises = (
        (model.radial_noise, model.tangential_noise)
        if isinstance(model, RadialTangentialSDE)
        else (model.noise,)
    )
    modes = 1 if isinstance(sde, DiagonalSDE) else 0
    zero = xp.zeros((1,) * (leading + 1), dtype=wide, device=device_of(cache.key))
    decay, least = append_axes(model.decay, 1 - modes) + zero, inf + zero
    for noise in noises:
        process, measurement, query = (append_axes(x, 1 - modes) + zero for x in noise)
        decaying = decay > 0.0
        stationary = process / xp.where(decaying, 2.0 * decay, 1.0)
        bounded = xp.where(decaying, xp.minimum(measurement, stationary), measurement)
        least = xp.minimum(least, xp.min(query + bounded, axis=-1, keepdims=True))
    distance = (4.0 * norm * norm / least)[..., None]
    beside = aligned(cast_parameters(weighting, wide, wide, xp=xp), leading)
    beside = type(weighting)(*(append_axes(x, 2) for x in beside))
    return beside.log_weight(distance, cache.key.shape[-1] // 2)


def _known(x: Any, *, xp: Namespace) -> int:
    """Return an integer as a Python number; raise ValueError if it is traced."""
    found = storage_of(xp).concrete(x)
    if found is None:
        msg = (
            "`cache` must not be traced, got one in a program that is compiled or mapped: how many "
            "tokens can be evicted depends on values. Evict between steps, outside of the program."
        )
        raise ValueError(msg)
    return found


def _check(cache: DecodeCache, sde: SDE) -> Namespace:
    """Check that a cache has correlated keys, with the filters of a model; return its namespace."""
    check_instance("cache", cache, DecodeCache)
    check_sde(sde)
    if cache.state is None:
        msg = (
            "`cache` must have correlated keys, got one without: the weight of old keys that are "
            "independent has no bound. Make it with correlated=True."
        )
        raise ValueError(msg)
    check_filters(cache.state, sde, cache.key.shape[-1] // 2)
    return namespace(**{"cache.key": cache.key})


def _check_number(name: str, x: object, expected: str, limit: float) -> None:
    if not is_number(x):
        msg = f"`{name}` must be a number {expected}, got {type(x).__name__}. Convert it."
        raise TypeError(msg)
    if not 0.0 < float(x) < limit:  # type: ignore[arg-type]
        msg = f"`{name}` must be {expected}, got {x!r}. Correct it."
        raise ValueError(msg)
