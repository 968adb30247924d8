"""Keys and values of the tokens so far, in the form in which all later steps use them (spec §9)."""

from __future__ import annotations

from functools import partial, reduce
from typing import Any, NamedTuple

from afa_core._array.arrays import Array, DType, Namespace, compute_dtype, device_of, wide_dtype
from afa_core._array.pairs import Layout
from afa_core.decoding.arguments import NewTokens, check_capacity, check_prefix, new_tokens
from afa_core.decoding.execution import storage_of
from afa_core.decoding.forms import Tokens
from afa_core.decoding.influence import QueryFilter, filter_tokens, initial_state
from afa_core.decoding.leading_axes import FIELDS, arrays_of, with_axes
from afa_core.decoding.new_tokens import (
    axes_of,
    rotated,
    times_since,
    visible_or_all,
    with_leading,
)
from afa_core.decoding.times import ReferenceTime
from afa_core.model.gains import FilterGains
from afa_core.model.sde import SDE

LATEST = 2048
"""How many of the latest cached keys are visited by every step, whatever the others may matter."""


class DecodeCache(NamedTuple):
    """Keys and values of the tokens so far, for `decode_step`.

    Make one with `empty` or `of`. Tokens are rotated to the reference time `origin` when they are
    appended, by the frequencies of `sde`, so every step needs the same `sde`; so is the filter of
    correlated keys continued, with its decay and noise. A cache may be continued more than once:
    the tokens that one step appends are not part of the others. All arrays but `finite` have as
    many leading axes, each as long as that of the tokens or 1: `select` picks sequences of a batch.

    Parameters
    ----------
    key : array, shape (..., slots, 2d)
        e^{−iωt} ⊙ k, real parts before imaginary parts.
    value : array, shape (..., slots, 2d_v)
        e^{−iω_v t} ⊙ v.
    key2 : array, shape (..., slots, 1)
        ‖k‖².
    times : array, shape (..., slots, 1)
        Times since `origin`, in the widest dtype.
    visible : boolean array, shape (..., slots, 1), or None
        Which tokens are keys; None if all are.
    influence : array, shape (..., slots, 2s) or (..., slots, 3s), or None
        log K − C of s filters in the widest dtype, if keys are correlated: in one term where that
        is double precision, and otherwise in two. Then C.
    used : int
        Number of tokens; later slots are unused. Traced under `jax.jit`.
    latest : array, shape (..., 1, 1)
        Time of the latest visible token since `origin`, −∞ if there is none.
    origin : array, shape (..., 1, 1)
        The reference time, NaN before the first visible token.
    state : FilterGains, or None
        What the filters hold at the latest token, arrays (..., 1, s), if keys are correlated.
    finite : boolean array, shape (), or None
        Whether keys and values are finite, if keys are correlated: those of whole blocks of
        `LATEST` tokens, so that only later ones are not known.
    evicted : array, shape (..., 1, s), or None
        C at the latest token that `evict` has removed, None if it has removed none.
    capacity : int or None
        The maximum number of tokens; None if the cache grows.
    """

    key: Array
    value: Array
    key2: Array
    times: Array
    visible: Array | None
    influence: Array | None
    used: int
    latest: Array
    origin: Array
    state: FilterGains | None
    finite: Array | None
    evicted: Array | None
    capacity: int | None

    @staticmethod
    def of(
        key: Array,
        value: Array,
        sde: SDE,
        *,
        times: Array | None = None,
        mask: Array | None = None,
        capacity: int | None = None,
        layout: Layout = "interleaved",
        correlated: bool = False,
    ) -> DecodeCache:
        """Return the cache of a prompt.

        Parameters
        ----------
        key : array, shape (..., m, c)
        value : array, shape (..., m, c_v)
            Stored in the dtype of the computation, at least single precision.
        sde : IsotropicSDE, DiagonalSDE or RadialTangentialSDE
        times : array, shape (..., m), or None
            By default 0..m−1.
        mask : boolean array, shape (..., m), or None
            False hides a token from all queries, such as the padding of prompts of different
            lengths. Its key and value do not affect any result, even if they are NaN.
        capacity : int or None
            The maximum number of tokens, for which slots are allocated at once. None allocates
            slots as tokens come, twice as many each time. Under `jax.jit` a number is needed.
        layout : {"interleaved", "halves"}
        correlated : bool
            Whether keys are correlated, as in `attention`: for steps with `correlated`, and no
            others. Times must not decrease along visible tokens then.

        Returns
        -------
        DecodeCache

        Raises
        ------
        TypeError
            If an argument is of the wrong kind, dtype or library.
        ValueError
            If shapes, devices or options do not fit each other.
        """
        check_capacity(capacity)
        arguments, xp = check_prefix(
            key, value, sde, times, mask, layout=layout, correlated=correlated
        )
        dtype = compute_dtype(xp, key, value)
        tokens = new_tokens(arguments, times, mask, dtype, xp=xp)
        tokens = with_leading(tokens, axes_of(tokens, correlated=correlated))
        cache = _without_slots(tokens, capacity, correlated=correlated, xp=xp)
        return append_tokens(cache, tokens, xp=xp).cache

    @staticmethod
    def empty(
        key: Array,
        value: Array,
        sde: SDE,
        *,
        times: Array | None = None,
        mask: Array | None = None,
        capacity: int | None = None,
        layout: Layout = "interleaved",
        correlated: bool = False,
    ) -> DecodeCache:
        """Return a cache without tokens, for tokens like those given.

        Takes the arguments of `of`, and raises its errors. Of the arrays only the library, the
        dtype, the device and the shape without the axis of tokens matter. With `times` and `mask`
        the cache has the shapes that steps with times and masks give it, as `jax.lax.scan` needs.
        """
        check_prefix(key, value, sde, times, mask, layout=layout, correlated=correlated)
        return DecodeCache.of(
            key[..., :0, :],
            value[..., :0, :],
            sde,
            times=None if times is None else times[..., :0],
            mask=None if mask is None else mask[..., :0],
            capacity=capacity,
            layout=layout,
            correlated=correlated,
        )


class Appended(NamedTuple):
    """A cache with new tokens appended, and these tokens by themselves."""

    cache: DecodeCache
    tokens: Tokens
    visible: Array | None  # (..., c, 1)
    times: Array  # of hidden tokens too, (..., c, 1)
    filter: QueryFilter | None  # at the tokens, if keys are correlated

    def with_axes(self, leading: int) -> Appended:
        """Return new tokens with so many leading axes, beside the same cache."""
        own = partial(with_axes, count=leading + 2)
        filters = self.filter
        if filters is not None:
            filters = filters._replace(
                log_kept=tuple(map(own, filters.log_kept)), variance=own(filters.variance)
            )
        return Appended(
            self.cache, self.tokens.map(own), own(self.visible), own(self.times), filters
        )


def append_tokens(cache: DecodeCache, new: NewTokens, *, xp: Namespace) -> Appended:
    """Append tokens to a cache.

    Raises
    ------
    ValueError
        If they exceed its capacity, where the number of tokens is not traced.
    """
    storage = storage_of(xp)
    count = new.key.real.shape[-2]
    used, capacity = storage.concrete(cache.used), cache.capacity
    limit = None if capacity is None else storage.concrete(capacity)
    if used is not None and limit is not None and used + count > limit:
        msg = (
            f"`cache` must have room for {count} more tokens, got {used} of {limit} used. "
            "Make it with a larger `capacity`, or with None to let it grow."
        )
        raise ValueError(msg)
    cache, new = _in_one_rank(cache, new)
    times, reference = times_since(ReferenceTime(cache.origin, cache.latest), new, xp=xp)
    tokens = rotated(new, times, xp=xp)
    names = ["key", "value", "key2", "times"]
    appended: list[Any] = [*tokens[:4]]
    queries = None
    if cache.state is not None and cache.influence is not None:
        influence = cache.influence[..., :0, :]
        if count:
            influence, queries, state = filter_tokens(
                cache.state, times, new.visible, new.sde, xp=xp
            )
            cache = cache._replace(state=state)
        tokens = tokens._replace(influence=influence)
        names.append("influence")
        appended.append(influence)
    buffers = [getattr(cache, name) for name in names]
    if new.visible is not None or cache.visible is not None:
        names.append("visible")
        known = cache.visible  # not copied: buffers are known by their identity
        buffers.append(visible_or_all(None, cache.times, xp=xp) if known is None else known)
        appended.append(visible_or_all(new.visible, times, xp=xp))
    start = cache.used if used is None else used
    slots = capacity if limit is None else limit
    others: dict[str, Any] = {"origin": reference.origin, "latest": reference.latest}
    others |= {"state": cache.state, "evicted": cache.evicted}
    buffers = storage.append(buffers, appended, start, slots, xp=xp)
    fields: dict[str, Any] = dict(zip(names, buffers, strict=True))
    cache = cache._replace(**fields, **others, used=start + count)
    if used is not None:
        cache = _with_finite(cache, used, xp=xp)
    return Appended(cache, tokens, new.visible, times, queries)


def _in_one_rank(cache: DecodeCache, new: NewTokens) -> tuple[DecodeCache, NewTokens]:
    """Return a cache and new tokens with as many leading axes as the one with more has."""
    fields = {name: getattr(cache, name) for name in FIELDS}
    own = max(x.ndim for x in arrays_of(fields.values())) - 2
    leading = max(own, axes_of(new, correlated=cache.state is not None))
    extended = {name: with_axes(x, leading + 2) for name, x in fields.items()}
    return cache._replace(**extended), with_leading(new, leading)


def _with_finite(cache: DecodeCache, before: int, *, xp: Namespace) -> DecodeCache:
    """Return the cache of which so many tokens were there before, with those that are new checked.

    A block of tokens is checked once it is full.
    """
    blocks = slice(before // LATEST * LATEST, cache.used // LATEST * LATEST)
    if cache.finite is None or blocks.start == blocks.stop:
        return cache
    both = (xp.all(xp.isfinite(x[..., blocks, :])) for x in (cache.key2, cache.value))
    return cache._replace(finite=reduce(xp.logical_and, both, cache.finite))


def _without_slots(
    tokens: NewTokens, capacity: int | None, *, correlated: bool, xp: Namespace
) -> DecodeCache:
    """Return a cache without any slot, for tokens like these."""
    device, dtype = device_of(tokens.key.real), tokens.key.real.dtype
    wide = wide_dtype(xp, device)
    times = tokens.times
    leading = (1,) * (tokens.key.real.ndim - 2) if times is None else times.shape[:-2]

    def columns(like: Array, width: int, dtype: DType) -> Array:
        return xp.zeros((*like.shape[:-2], 0, width), dtype=dtype, device=device)

    modes, value_modes = (each.real.shape[-1] for each in (tokens.key, tokens.value))
    latest = xp.full((*leading, 1, 1), -xp.inf, dtype=wide, device=device)
    state = influence = finite = None
    if correlated:
        state = initial_state(latest, tokens.visible, tokens.sde, modes, xp=xp)
        influence = columns(state.gain, (len(state.log_kept) + 1) * state.gain.shape[-1], wide)
        finite = xp.ones((), dtype=xp.bool, device=device)
    return DecodeCache(
        key=columns(tokens.key.real, 2 * modes, dtype),
        value=columns(tokens.value.real, 2 * value_modes, dtype),
        key2=columns(tokens.key.real, 1, dtype),
        times=xp.zeros((*leading, 0, 1), dtype=wide, device=device),
        visible=None if tokens.visible is None else columns(tokens.visible, 1, xp.bool),
        influence=influence,
        used=0,
        latest=latest,
        origin=xp.full((*leading, 1, 1), xp.nan, dtype=wide, device=device),
        state=state,
        finite=finite,
        evicted=None,
        capacity=capacity,
    )
