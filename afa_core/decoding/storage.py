"""How a library keeps tokens that arrive one after another."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from afa_core._array.arrays import Array, Namespace, broadcast_shape

LEAST = 16
"""Slots in the first buffer of a cache that grows."""


class Storage(NamedTuple):
    """How a library keeps tokens that arrive one after another.

    Parameters
    ----------
    append : callable
        ``append(buffers, tokens, used, capacity, xp=…)``: the buffers, each (..., slots, w), with
        tokens (..., c, w) in the slots from `used` on; slots before it keep what they hold, also
        in the buffers that were given. `capacity` is a number of slots, or None to grow.
    read : callable
        ``read(x)``: an integer as Python's, None where it is traced.
    masked : bool
        Whether attention takes the slots that are not used yet along and hides them, so that
        shapes stay; otherwise they are cut off.
    sloped : callable
        ``sloped(arrays)``: whether derivatives may be taken in these arrays.
    """

    append: Callable[..., list[Array]]
    read: Callable[[Any], int | None]
    masked: bool
    sloped: Callable[[Iterable[Any]], bool]


def _append(
    buffers: Sequence[Array], tokens: Sequence[Array], used: int, _: int | None, *, xp: Namespace
) -> list[Array]:
    return [joined(b, t, used, xp=xp) for b, t in zip(buffers, tokens, strict=True)]


def joined(buffer: Array, token: Array, used: int, *, xp: Namespace) -> Array:
    """Return a new buffer without a spare slot."""
    lead = leading(buffer, token)
    kept = buffer[..., :used, :]
    parts = [xp.broadcast_to(x, (*lead, *x.shape[-2:])) for x in (kept, token)]
    return xp.concat(parts, axis=-2)


def leading(buffer: Array, token: Array) -> tuple[int, ...]:
    """Return the leading axes that a buffer needs to take a token."""
    return broadcast_shape({"cache": buffer.shape[:-2], "token": token.shape[:-2]})


def slots(needed: int, present: int, capacity: int | None) -> int:
    """Return how many slots a new buffer gets: all at once, or twice as many as before."""
    if capacity is not None:
        return capacity
    return present if needed <= present else max(needed, 2 * present, LEAST)


STANDARD = Storage(_append, int, masked=False, sloped=lambda arrays: True)
"""New arrays at every step, for libraries whose arrays cannot be written to."""


class Fills:
    """How far each buffer is filled, so that no cache overwrites what another one continued.

    A buffer is known by identity: whatever was copied, cut or sent elsewhere is not known, and is
    copied before it is written to.
    """

    def __init__(self) -> None:
        self._filled: dict[int, tuple[weakref.ref[Any], int]] = {}
        self._lock = threading.RLock()  # a buffer may be collected while it is held

    def note(self, buffer: Array, filled: int) -> None:
        """Take down how far a new buffer is filled."""
        own = id(buffer)
        with self._lock:
            self._filled[own] = weakref.ref(buffer, lambda _: self._filled.pop(own, None)), filled

    def claim(self, buffer: Array, used: int, filled: int) -> bool:
        """Take the slots from `used` to `filled` if they are free and no one's yet."""
        with self._lock:
            reference, mark = self._filled.get(id(buffer), (None, -1))
            if reference is None or reference() is not buffer:
                return False
            if mark != used or filled > buffer.shape[-2]:
                return False
            self._filled[id(buffer)] = reference, filled
            return True
