"""Cached tokens in NumPy: written to the next slots of a buffer where those are free."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from afa_core.decoding.storage import BufferOwnership, Storage, buffer_slots, leading_shape
from afa_numpy.fused.needed import threads
from afa_numpy.fused.step import Memory, step

OWNERSHIP = BufferOwnership()


def _append(
    buffers: Sequence[Any], tokens: Sequence[Any], used: int, capacity: int | None, *, xp: Any
) -> list[Any]:
    return [_written(b, t, used, capacity) for b, t in zip(buffers, tokens, strict=True)]


def _written(buffer: Any, token: Any, used: int, capacity: int | None) -> Any:
    filled = used + token.shape[-2]
    buffer = room(buffer, leading_shape(buffer, token), used, filled, capacity)
    buffer[..., used:filled, :] = token
    return buffer


def room(
    buffer: Any, leading: tuple[int, ...], used: int, filled: int, capacity: int | None
) -> Any:
    """Return a buffer with the same tokens, and with slots of its own from `used` to `filled`."""
    if buffer.shape[:-2] == leading and OWNERSHIP.reserve(buffer, used, filled):
        return buffer
    slots = buffer_slots(filled, buffer.shape[-2], capacity)
    own = np.empty((*leading, slots, buffer.shape[-1]), dtype=buffer.dtype)
    own[..., :used, :] = buffer[..., :used, :]
    OWNERSHIP.record(own, filled)
    return own


def _itself(x: Any) -> Any:
    return x


def _step(arguments: Any, cache: Any, time: Any, check: Any) -> Any:
    return step(arguments, cache, time, check, MEMORY)


MEMORY = Memory(_itself, _itself, room, lambda x: (x.dtype, x.shape), threads)
STORAGE = Storage(
    _append,
    int,
    masks_unused=False,
    requires_grad=lambda arrays: False,
    read=lambda x: np.asarray(x).tolist(),
    step=_step,
)
