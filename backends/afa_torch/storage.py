"""Cached tokens in PyTorch: written to the next slots of a buffer where those are free."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from afa_core.decoding.storage import (
    BufferOwnership,
    Storage,
    buffer_slots,
    concatenate,
    leading_shape,
)
from afa_numpy.fused.step import Memory, step

OWNERSHIP = BufferOwnership()


def _requires_grad(arrays: Iterable[Any]) -> bool:
    return torch.is_grad_enabled() and any(x.requires_grad for x in arrays)


def _append(
    buffers: Sequence[Any], tokens: Sequence[Any], used: int, capacity: int | None, *, xp: Any
) -> list[Any]:
    pairs = zip(buffers, tokens, strict=True)
    # buffers that a graph or a compiled program may use are not overwritten
    if torch.compiler.is_compiling() or _requires_grad([*buffers, *tokens]):
        return [concatenate(b, t, used, xp=xp) for b, t in pairs]
    return [_written(b, t, used, capacity) for b, t in pairs]


def _written(buffer: Tensor, token: Tensor, used: int, capacity: int | None) -> Tensor:
    filled = used + token.shape[-2]
    buffer = room(buffer, leading_shape(buffer, token), used, filled, capacity)
    buffer[..., used:filled, :] = token
    return buffer


def room(
    buffer: Tensor, leading: tuple[int, ...], used: int, filled: int, capacity: int | None
) -> Tensor:
    """Return a buffer with the same tokens, and with slots of its own from `used` to `filled`."""
    # tensors of inference mode cannot be written to outside of it
    frozen = buffer.is_inference() and not torch.is_inference_mode_enabled()
    if not frozen and buffer.shape[:-2] == leading and OWNERSHIP.reserve(buffer, used, filled):
        return buffer
    slots = buffer_slots(filled, buffer.shape[-2], capacity)
    own = buffer.new_empty((*leading, slots, buffer.shape[-1]))
    own[..., :used, :] = buffer[..., :used, :]
    OWNERSHIP.record(own, filled)
    return own


def _read(x: Tensor) -> Any:
    if torch.compiler.is_compiling() or x.device.type != "cpu":
        return None
    try:
        return x.tolist()
    except RuntimeError:  # under torch.func.vmap, and of tensors without values
        return None


def _concrete(x: Any) -> int | None:
    """Return an integer as a Python number, None of a tensor without a value to read."""
    if isinstance(x, int):
        return x
    try:
        return None if torch.compiler.is_compiling() else int(x)
    except RuntimeError:  # under torch.func.vmap
        return None


def _step(arguments: Any, cache: Any, time: Any, check: Any) -> Any:
    if torch.compiler.is_compiling() or not torch.is_tensor(cache.key):
        return None
    if cache.key.device.type != "cpu":
        return None
    try:
        tensors = filter(torch.is_tensor, _leaves((*arguments, *cache[:4])))
        return None if _requires_grad(tensors) else step(arguments, cache, time, check, MEMORY)
    except RuntimeError:  # under torch.func.vmap, and of tensors without values
        return None


def _leaves(x: Any) -> Iterator[Any]:
    for each in x:
        yield from _leaves(each) if isinstance(each, tuple) else (each,)


MEMORY = Memory(
    lambda x: x.detach().resolve_neg().numpy(),
    torch.from_numpy,
    room,
    lambda x: (x.dtype, x.shape, x.device, x.layout),
    torch.get_num_threads,
)
STORAGE = Storage(
    _append,
    _concrete,
    masks_unused=False,
    requires_grad=_requires_grad,
    read=_read,
    step=_step,
)
