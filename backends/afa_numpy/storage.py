"""Cached tokens in NumPy: written to the next slots of a buffer where those are free."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from afa_core.decoding.storage import BufferOwnership, Storage, buffer_slots, leading_shape

OWNERSHIP = BufferOwnership()


def _append(
    buffers: Sequence[Any], tokens: Sequence[Any], used: int, capacity: int | None, *, xp: Any
) -> list[Any]:
    return [_written(b, t, used, capacity) for b, t in zip(buffers, tokens, strict=True)]


def _written(buffer: Any, token: Any, used: int, capacity: int | None) -> Any:
    filled, leading = used + token.shape[-2], leading_shape(buffer, token)
    if buffer.shape[:-2] != leading or not OWNERSHIP.reserve(buffer, used, filled):
        slots = buffer_slots(filled, buffer.shape[-2], capacity)
        own = np.empty((*leading, slots, buffer.shape[-1]), dtype=buffer.dtype)
        own[..., :used, :] = buffer[..., :used, :]
        OWNERSHIP.record(own, filled)
        buffer = own
    buffer[..., used:filled, :] = token
    return buffer


STORAGE = Storage(
    _append,
    int,
    masks_unused=False,
    requires_grad=lambda arrays: False,
    read=lambda x: np.asarray(x).tolist(),
)
