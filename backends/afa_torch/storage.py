"""Tokens in PyTorch: written into the spare room of a buffer where nobody has yet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from afa_core.decoding.storage import Fills, Storage, joined, leading, slots

FILLS = Fills()


def _sloped(arrays: Iterable[Any]) -> bool:
    return torch.is_grad_enabled() and any(x.requires_grad for x in arrays)


def _append(
    buffers: Sequence[Any], tokens: Sequence[Any], used: int, capacity: int | None, *, xp: Any
) -> list[Any]:
    pairs = zip(buffers, tokens, strict=True)
    # what a graph or a compiled program holds on to is not written over
    if torch.compiler.is_compiling() or _sloped([*buffers, *tokens]):
        return [joined(b, t, used, xp=xp) for b, t in pairs]
    return [_written(b, t, used, capacity) for b, t in pairs]


def _written(buffer: Tensor, token: Tensor, used: int, capacity: int | None) -> Tensor:
    filled, lead = used + token.shape[-2], leading(buffer, token)
    # outside of inference mode its tensors cannot be written to
    frozen = buffer.is_inference() and not torch.is_inference_mode_enabled()
    if frozen or buffer.shape[:-2] != lead or not FILLS.claim(buffer, used, filled):
        room = slots(filled, buffer.shape[-2], capacity)
        own = buffer.new_empty((*lead, room, buffer.shape[-1]))
        own[..., :used, :] = buffer[..., :used, :]
        FILLS.note(own, filled)
        buffer = own
    buffer[..., used:filled, :] = token
    return buffer


STORAGE = Storage(_append, int, masked=False, sloped=_sloped)
