"""How an array library stores the tokens of a cache."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from afa_core._array.arrays import Array, Namespace, broadcast_shape

MIN_SLOTS = 16
"""Slots in the first buffer of a cache that grows."""


class Append(Protocol):
    """The type of `Storage.append`."""

    def __call__(
        self,
        buffers: Sequence[Any],
        tokens: Sequence[Any],
        used: int,
        capacity: int | None,
        /,
        *,
        xp: Namespace,
    ) -> list[Any]:
        """Return the buffers with the tokens in the slots from `used` on."""
        ...


def unread(x: Array) -> None:
    """Return None: values are not read."""


def no_step(*arguments: Any) -> None:
    """Return None: steps take the operations of the array API."""


class Storage(NamedTuple):
    """How an array library stores the tokens of a cache.

    Parameters
    ----------
    append : callable
        ``append(buffers, tokens, used, capacity, xp=…)`` returns the buffers, each
        (..., slots, w), with the tokens (..., c, w) in the slots from `used` on. The slots before
        `used` keep their contents, in the given buffers too. `capacity` is a number of slots, or
        None for buffers that grow.
    concrete : callable
        ``concrete(x)`` returns an integer as a Python number, None if it is traced.
    masks_unused : bool
        Whether unused slots take part in attention behind a mask, so that shapes are constant;
        otherwise they are sliced off.
    requires_grad : callable
        ``requires_grad(arrays)`` returns whether a gradient may be taken with respect to them.
    read : callable
        ``read(x)`` returns the values of an array as a Python number or nested lists, None where
        it is traced or reading would wait for a device.
    tiles : callable
        ``tiles()`` returns whether steps of many tokens may be evaluated in tiles.
    step : callable
        ``step(arguments, cache, time, check)`` returns the `Estimate` at a single new token and
        the cache with it, None where it does not apply. ``check(arguments, cache, time, None)``
        raises the errors of a step, which depend on no value of an array.
    """

    append: Append
    concrete: Callable[[Any], int | None]
    masks_unused: bool
    requires_grad: Callable[[Iterable[Any]], bool]
    read: Callable[[Any], Any] = unread
    tiles: Callable[[], bool] = lambda: True
    step: Callable[..., tuple[Any, Any] | None] = no_step


def _append(
    buffers: Sequence[Array], tokens: Sequence[Array], used: int, _: int | None, *, xp: Namespace
) -> list[Array]:
    return [concatenate(b, t, used, xp=xp) for b, t in zip(buffers, tokens, strict=True)]


def concatenate(buffer: Array, tokens: Array, used: int, *, xp: Namespace) -> Array:
    """Return a new buffer of the used slots and the tokens, without a spare slot."""
    leading = leading_shape(buffer, tokens)
    parts = buffer[..., :used, :], tokens
    return xp.concat([xp.broadcast_to(x, (*leading, *x.shape[-2:])) for x in parts], axis=-2)


def leading_shape(buffer: Array, tokens: Array) -> tuple[int, ...]:
    """Return the leading axes of a buffer that is to hold the tokens too."""
    return broadcast_shape({"cache": buffer.shape[:-2], "token": tokens.shape[:-2]})


def buffer_slots(needed: int, present: int, capacity: int | None) -> int:
    """Return how many slots a new buffer gets: all at once, or twice as many as before."""
    if capacity is not None:
        return capacity
    return present if needed <= present else max(needed, 2 * present, MIN_SLOTS)


DEFAULT_STORAGE = Storage(_append, int, masks_unused=False, requires_grad=lambda arrays: True)
"""New arrays at every step, for libraries whose arrays are immutable."""


class BufferOwnership:
    """How many slots of each buffer are taken, so that each slot is written by one cache only.

    A buffer is identified by its identity: one that was copied, sliced or sent elsewhere is not
    recorded, and has to be copied before it is written to.
    """

    def __init__(self) -> None:
        self._taken: dict[int, tuple[weakref.ref[Any], int]] = {}
        self._lock = threading.RLock()  # a buffer may be collected while it is held

    def record(self, buffer: Array, taken: int) -> None:
        """Record how many slots of a new buffer are taken."""
        key = id(buffer)
        with self._lock:
            self._taken[key] = weakref.ref(buffer, lambda _: self._taken.pop(key, None)), taken

    def reserve(self, buffer: Array, start: int, stop: int) -> bool:
        """Reserve the slots from `start` to `stop`; return False if they are not the next free."""
        with self._lock:
            reference, taken = self._taken.get(id(buffer), (None, -1))
            if reference is None or reference() is not buffer:
                return False
            if taken != start or stop > buffer.shape[-2]:
                return False
            self._taken[id(buffer)] = reference, stop
            return True

    def writable(
        self,
        buffer: Any,
        leading: tuple[int, ...],
        slots: range,
        capacity: int | None,
        empty: Callable[[tuple[int, ...]], Any],
        *,
        in_place: bool = True,
    ) -> Any:
        """Return a buffer with the same tokens before some slots, which its caller alone writes.

        It is the given one if it has these leading axes, its next free slots are those, and it may
        be written to `in_place`; otherwise a copy, made by ``empty(shape)``.
        """
        in_place = in_place and buffer.shape[:-2] == leading
        if in_place and self.reserve(buffer, slots.start, slots.stop):
            return buffer
        total = buffer_slots(slots.stop, buffer.shape[-2], capacity)
        own = empty((*leading, total, buffer.shape[-1]))
        own[..., : slots.start, :] = buffer[..., : slots.start, :]
        self.record(own, slots.stop)
        return own
