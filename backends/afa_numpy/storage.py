"""Tokens in NumPy: written into the spare room of a buffer where nobody has yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from afa_core.decoding.storage import Fills, Storage, leading, slots

FILLS = Fills()


def _append(
    buffers: Sequence[Any], tokens: Sequence[Any], used: int, capacity: int | None, *, xp: Any
) -> list[Any]:
    return [_written(b, t, used, capacity) for b, t in zip(buffers, tokens, strict=True)]


def _written(buffer: Any, token: Any, used: int, capacity: int | None) -> Any:
    filled, lead = used + token.shape[-2], leading(buffer, token)
    if buffer.shape[:-2] != lead or not FILLS.claim(buffer, used, filled):
        room = slots(filled, buffer.shape[-2], capacity)
        own = np.empty((*lead, room, buffer.shape[-1]), dtype=buffer.dtype)
        own[..., :used, :] = buffer[..., :used, :]
        FILLS.note(own, filled)
        buffer = own
    buffer[..., used:filled, :] = token
    return buffer


STORAGE = Storage(_append, int, masked=False, sloped=lambda arrays: False)
