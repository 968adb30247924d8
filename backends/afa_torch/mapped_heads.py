"""Heads of problems that `torch.func.vmap` maps over: its axis becomes the first of theirs."""

from __future__ import annotations

from typing import Any


def fold(info: Any, axes: Any, tensors: list[Any]) -> list[Any]:
    """Make the axis that is mapped over the first of the heads."""
    batched = (
        x.expand(info.batch_size, *x.shape) if axis is None else x.movedim(axis, 0)
        for x, axis in zip(tensors, axes, strict=True)
    )
    return [x.flatten(0, 1) for x in batched]


def unfold(info: Any, tensors: Any) -> list[Any]:
    """Undo it; sizes are given, since no size of an operand without entries can be inferred."""
    size = info.batch_size
    return [x.reshape(size, x.shape[0] // size, *x.shape[1:]) for x in tensors]


def fold_mask(axis: int | None, mask: Any, leading: list[int]) -> Any:
    """Make the axis of a mask that is mapped over the first of its leading axes."""
    if mask is None or axis is None:
        return mask
    batched = mask.movedim(axis, 0)
    between = (1,) * (len(leading) + 3 - batched.ndim)
    return batched.reshape(batched.shape[0], *between, *batched.shape[1:])
