"""Cached tokens in NumPy: written to the next slots of a buffer where those are free."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from afa_core.decoding.storage import BufferOwnership, Storage, leading_shape
from afa_numpy.fused.needed import threads
from afa_numpy.fused.step import Memory, step

OWNERSHIP = BufferOwnership()


def _append(
    buffers: Sequence[Any], tokens: Sequence[Any], used: int, capacity: int | None, *, xp: Any
) -> list[Any]:
    return [_written(b, t, used, capacity) for b, t in zip(buffers, tokens, strict=True)]


def _written(buffer: Any, token: Any, used: int, capacity: int | None) -> Any:
    slots = range(used, used + token.shape[-2])
    buffer = writable(buffer, leading_shape(buffer, token), slots, capacity)
    buffer[..., used : slots.stop, :] = token
    return buffer


def writable(buffer: Any, leading: tuple[int, ...], slots: range, capacity: int | None) -> Any:
    """Return a buffer with the same tokens, of which these slots may be written."""
    empty = partial(np.empty, dtype=buffer.dtype)
    return OWNERSHIP.writable(buffer, leading, slots, capacity, empty)


def _itself(x: Any) -> Any:
    return x


def _step(arguments: Any, cache: Any, time: Any, check: Any) -> Any:
    return step(arguments, cache, time, check, MEMORY)


MEMORY = Memory(_itself, _itself, writable, lambda x: (x.dtype, x.shape), threads)
STORAGE = Storage(
    _append,
    int,
    masks_unused=False,
    requires_grad=lambda arrays: False,
    read=lambda x: np.asarray(x).tolist(),
    step=_step,
)
