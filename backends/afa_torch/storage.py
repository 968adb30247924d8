"""Cached tokens in PyTorch: written to the next slots of a buffer where those are free."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from afa_core.decoding.storage import (
    BufferOwnership,
    Storage,
    concatenate,
    leading_shape,
)
from afa_numpy.fused.step import Memory, NoMemory, step
from afa_torch.derivatives import is_differentiated

OWNERSHIP = BufferOwnership()


def _requires_grad(arrays: Iterable[Any]) -> bool:
    return any(map(is_differentiated, arrays))


def _append(
    buffers: Sequence[Any], tokens: Sequence[Any], used: int, capacity: int | None, *, xp: Any
) -> list[Any]:
    pairs = zip(buffers, tokens, strict=True)
    # buffers that a graph or a compiled program may use are not overwritten
    if torch.compiler.is_compiling() or _requires_grad([*buffers, *tokens]):
        return [concatenate(b, t, used, xp=xp) for b, t in pairs]
    return [_written(b, t, used, capacity) for b, t in pairs]


def _written(buffer: Tensor, token: Tensor, used: int, capacity: int | None) -> Tensor:
    slots = range(used, used + token.shape[-2])
    buffer = writable(buffer, leading_shape(buffer, token), slots, capacity)
    # not through the buffer itself, whose earlier slots a graph may have saved
    buffer.data[..., used : slots.stop, :] = token
    return buffer


def writable(buffer: Tensor, leading: tuple[int, ...], slots: range, capacity: int | None) -> Any:
    """Return a buffer with the same tokens, of which these slots may be written."""
    # tensors of inference mode cannot be written to outside of it
    in_place = torch.is_inference_mode_enabled() or not buffer.is_inference()
    return OWNERSHIP.writable(buffer, leading, slots, capacity, buffer.new_empty, in_place=in_place)


def _tiles() -> bool:
    # Derivatives in forward mode, which tiles lack, cannot be seen while a program is compiled, and
    # an exported program is of standard operators only.
    return not torch.compiler.is_compiling()


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
    tensors = filter(torch.is_tensor, _leaves((*arguments, time, *cache[:4])))
    return None if _requires_grad(tensors) else step(arguments, cache, time, check, MEMORY)


def _memory(x: Tensor) -> Any:
    try:
        return x.detach().resolve_neg().numpy()
    except (RuntimeError, TypeError) as error:  # under torch.func.vmap, without values, bfloat16
        raise NoMemory from error


def _leaves(x: Any) -> Iterator[Any]:
    for each in x:
        yield from _leaves(each) if isinstance(each, tuple) else (each,)


MEMORY = Memory(
    _memory,
    torch.from_numpy,
    writable,
    lambda x: (x.dtype, x.shape, x.device, x.layout),
    torch.get_num_threads,
)
STORAGE = Storage(
    _append,
    _concrete,
    masks_unused=False,
    requires_grad=_requires_grad,
    read=_read,
    tiles=_tiles,
    step=_step,
)
