"""Tokens in JAX: shapes stay while tokens come, so that one program serves every step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from afa_core.decoding.storage import Storage, leading, slots


def _read(x: Any) -> int | None:
    """Return an integer as Python's, None where it is traced."""
    return None if isinstance(x, Tracer) else int(x)


def _append(
    buffers: Sequence[Any], tokens: Sequence[Any], used: Any, capacity: Any, *, xp: Any
) -> list[Any]:
    known = _read(used)
    count, present = tokens[0].shape[-2], buffers[0].shape[-2]
    if known is not None:
        present = slots(known + count, present, capacity)
    elif capacity is None or count > present:
        msg = (
            f"`cache` must have a fixed `capacity` of at least {count} slots where the number of "
            f"its tokens is traced, got {'none' if capacity is None else present}. "
            "Make it with one."
        )
        raise ValueError(msg)
    return [_written(b, t, used, present) for b, t in zip(buffers, tokens, strict=True)]


def _written(buffer: Any, token: Any, used: Any, room: int) -> Any:
    """Write tokens, or NaN where there is no room for them, into a buffer of that many slots."""
    lead = leading(buffer, token)
    spare = [(0, 0)] * (buffer.ndim - 2) + [(0, room - buffer.shape[-2]), (0, 0)]
    buffer = jnp.broadcast_to(jnp.pad(buffer, spare), (*lead, room, buffer.shape[-1]))
    token = jnp.broadcast_to(token, (*lead, *token.shape[-2:])).astype(buffer.dtype)
    if token.dtype != bool:
        token = jnp.where(used + token.shape[-2] > room, jnp.nan, token)
    return jax.lax.dynamic_update_slice_in_dim(buffer, token, used, axis=-2)


STORAGE = Storage(_append, _read, masked=True, sloped=lambda arrays: True)
