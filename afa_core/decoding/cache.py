"""What of keys and values does not change while queries come and go (spec §9)."""

from __future__ import annotations

from typing import Any, NamedTuple

from afa_core._array.arrays import Array, DType, Namespace, compute_dtype, device_of, wide_dtype
from afa_core._array.pairs import Layout, norm2
from afa_core._dispatch import registered
from afa_core.decoding.arguments import Arrival, arrive, check_capacity, check_prefix
from afa_core.decoding.forms import Tokens
from afa_core.decoding.phases import phase, turned_back, value_phase
from afa_core.decoding.storage import STANDARD
from afa_core.decoding.times import Clock, given, regular
from afa_core.model.sde import SDE


class DecodeCache(NamedTuple):
    """Keys and values of the tokens so far, for `decode_step`.

    Make one with `empty` or `of`. Tokens are turned back to the reference time `origin` once and
    for all, by the frequencies of the `sde` given, so all steps must be given the same. A cache
    may be continued more than once: what one step appends no other sees.

    Parameters
    ----------
    key : array, shape (..., slots, 2d)
        e^{−iωt} ⊙ k, real parts before imaginary parts.
    value : array, shape (..., slots, 2d_v)
        e^{−iω_v t} ⊙ v.
    key2 : array, shape (..., slots, 1)
        ‖k‖².
    times : array, shape (..., slots, 1)
        Since `origin`, in the widest dtype.
    visible : boolean array, shape (..., slots, 1), or None
        Which tokens are keys at all; None if all are.
    used : int
        Number of tokens; slots from there on hold nothing. Traced under `jax.jit`.
    latest : array, shape (..., 1, 1)
        Time of the latest visible token since `origin`, −∞ if there is none.
    origin : array, shape (..., 1, 1)
        The reference time, NaN until a token has told it.
    capacity : int or None
        The most tokens it takes; None if it grows.
    """

    key: Array
    value: Array
    key2: Array
    times: Array
    visible: Array | None
    used: int
    latest: Array
    origin: Array
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
    ) -> DecodeCache:
        """Return the cache of a prompt.

        Parameters
        ----------
        key : array, shape (..., m, c)
        value : array, shape (..., m, c_v)
            Kept in the dtype of the computation, at least single precision.
        sde : IsotropicSDE, DiagonalSDE or RadialTangentialSDE
        times : array, shape (..., m), or None
            By default 0..m−1.
        mask : boolean array, shape (..., m), or None
            False hides a token for good, such as the padding of prompts of different lengths;
            whatever is in it, NaN included, leaves no trace.
        capacity : int or None
            The most tokens that the cache will take, for which room is made at once; None makes
            room as tokens come, twice as much each time. Under `jax.jit` it has to be fixed.
        layout : {"interleaved", "halves"}

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
        a, xp = check_prefix(key, value, sde, times, mask, layout)
        dtype = compute_dtype(xp, key, value)
        arrival = arrive(a, times, mask, dtype, xp=xp)
        return extended(_nothing(arrival, capacity, xp=xp), arrival, xp=xp).cache

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
    ) -> DecodeCache:
        """Return a cache of no token, for tokens like those given.

        Takes the arguments of `of`, and raises its errors. Of arrays only the library, the dtype,
        the device and all axes but that of tokens matter; with `times` and `mask` the cache has
        from the start the shapes that it gets when steps bring them, as `jax.lax.scan` wants it.
        """
        check_prefix(key, value, sde, times, mask, layout)
        return DecodeCache.of(
            key[..., :0, :],
            value[..., :0, :],
            sde,
            times=None if times is None else times[..., :0],
            mask=None if mask is None else mask[..., :0],
            capacity=capacity,
            layout=layout,
        )


class Extended(NamedTuple):
    """A cache with the tokens that arrived, and these by themselves."""

    cache: DecodeCache
    tokens: Tokens
    visible: Array | None  # (..., c, 1)
    times: Array  # of hidden tokens too, (..., c, 1)


def extended(cache: DecodeCache, it: Arrival, *, xp: Namespace) -> Extended:
    """Append tokens to a cache.

    Raises
    ------
    ValueError
        If they exceed its capacity, where the number of tokens is not traced.
    """
    storage = registered("storage", xp, STANDARD)
    count = it.key.real.shape[-2]
    used, capacity = storage.read(cache.used), cache.capacity
    limit = None if capacity is None else storage.read(capacity)
    if used is not None and limit is not None and used + count > limit:
        msg = (
            f"`cache` must have room for {count} more tokens, got {used} of {limit} used. "
            "Make it with a larger `capacity`, or with None to let it grow."
        )
        raise ValueError(msg)
    clock = Clock(cache.origin, cache.latest)
    if it.times is None:
        times, clock = regular(clock, count, xp=xp)
    else:
        times, clock = given(clock, it.times, it.visible, xp=xp)
    tokens = _turned(it, times, xp=xp)
    names = ["key", "value", "key2", "times"]
    buffers = [getattr(cache, name) for name in names]
    arrived = list(tokens)
    if it.visible is not None or cache.visible is not None:
        names.append("visible")
        buffers.append(_flags(cache.visible, cache.key, xp=xp))
        arrived.append(_flags(it.visible, tokens.key, xp=xp))
    start = cache.used if used is None else used
    room = capacity if limit is None else limit
    slots: Any = zip(names, storage.append(buffers, arrived, start, room, xp=xp), strict=True)
    cache = cache._replace(
        **dict(slots),
        used=start + count,
        latest=clock.latest,
        origin=clock.origin,
    )
    return Extended(cache, tokens, it.visible, times)


def _turned(it: Arrival, times: Array, *, xp: Namespace) -> Tokens:
    """Turn keys and values back to the reference time; hidden times are zeroed."""
    sde, dtype = it.sde, it.key.real.dtype
    if it.visible is not None:
        times = xp.where(it.visible, times, 0.0)
    by = phase(sde.frequency, times, dtype, xp=xp)
    value_by = value_phase(sde, by, times, xp=xp)
    key2 = norm2(it.key, xp=xp)[..., None]
    return Tokens(
        turned_back(it.key, by, xp=xp), turned_back(it.value, value_by, xp=xp), key2, times
    )


def _flags(visible: Array | None, like: Array, *, xp: Namespace) -> Array:
    if visible is not None:
        return visible
    return xp.ones((like.shape[-2], 1), dtype=xp.bool, device=device_of(like))


def _nothing(it: Arrival, capacity: int | None, *, xp: Namespace) -> DecodeCache:
    """Return a cache without a slot."""
    device, dtype = device_of(it.key.real), it.key.real.dtype
    wide = wide_dtype(xp, device)
    lead = () if it.times is None else it.times.shape[:-2]

    def columns(like: Array, width: int, dtype: DType) -> Array:
        return xp.zeros((*like.shape[:-2], 0, width), dtype=dtype, device=device)

    key, value = (2 * modes.real.shape[-1] for modes in (it.key, it.value))
    return DecodeCache(
        key=columns(it.key.real, key, dtype),
        value=columns(it.value.real, value, dtype),
        key2=columns(it.key.real, 1, dtype),
        times=xp.zeros((*lead, 0, 1), dtype=wide, device=device),
        visible=None if it.visible is None else columns(it.visible, 1, xp.bool),
        used=0,
        latest=xp.full((*lead, 1, 1), -xp.inf, dtype=wide, device=device),
        origin=xp.full((*lead, 1, 1), xp.nan, dtype=wide, device=device),
        capacity=capacity,
    )
