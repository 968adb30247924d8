"""Cached tokens in JAX, in buffers of constant shape, so that one program serves every step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from afa_core.decoding.storage import Storage, buffer_slots, leading_shape


def _concrete(x: Any) -> int | None:
    """Return an integer as a Python number, None if it is traced."""
    return None if isinstance(x, Tracer) else int(x)


def _append(
    buffers: Sequence[Any], tokens: Sequence[Any], used: Any, capacity: Any, *, xp: Any
) -> list[Any]:
    known = _concrete(used)
    count, present = tokens[0].shape[-2], buffers[0].shape[-2]
    if known is not None:
        present = buffer_slots(known + count, present, capacity)
    elif capacity is None or count > present:
        msg = (
            f"`cache` must have a fixed `capacity` of at least {count} slots where the number of "
            f"its tokens is traced, got {'none' if capacity is None else present}. "
            "Make it with one."
        )
        raise ValueError(msg)
    return [_written(b, t, used, present) for b, t in zip(buffers, tokens, strict=True)]


def _written(buffer: Any, token: Any, used: Any, slots: int) -> Any:
    """Write tokens into a buffer of that many slots; NaN where they do not fit."""
    leading = leading_shape(buffer, token)
    spare = [(0, 0)] * (buffer.ndim - 2) + [(0, slots - buffer.shape[-2]), (0, 0)]
    buffer = jnp.broadcast_to(jnp.pad(buffer, spare), (*leading, slots, buffer.shape[-1]))
    token = jnp.broadcast_to(token, (*leading, *token.shape[-2:])).astype(buffer.dtype)
    if token.dtype != bool:
        token = jnp.where(used + token.shape[-2] > slots, jnp.nan, token)
    return jax.lax.dynamic_update_slice_in_dim(buffer, token, used, axis=-2)


STORAGE = Storage(
    _append,
    _concrete,
    masks_unused=True,
    requires_grad=lambda arrays: True,
    tiles=lambda: False,  # the unused slots after the tokens are no tokens of a sequence
)
