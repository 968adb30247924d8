"""Rotation of modes in PyTorch: one operator that writes its result once, with a derivative.

By single operations each of the two parts takes three passes over memory and two arrays of its
own, and putting them together another: four times as long for many tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from afa_core.pairs import Pair, turned

PARTS = 4  # real, imag, cos, sin


def _turn(real: Tensor, imag: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    out = _shape(real, imag, cos, sin)
    modes = out.shape[-1] // 2
    one, two = out[..., :modes], out[..., modes:]
    torch.mul(real, cos, out=one).addcmul_(imag, sin, value=-1)
    torch.mul(real, sin, out=two).addcmul_(imag, cos)
    return out


def _shape(real: Tensor, imag: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    shape = torch.broadcast_shapes(real.shape, cos.shape)  # type: ignore[no-untyped-call]
    return real.new_empty((*shape[:-1], 2 * shape[-1]))


def _map(info: Any, axes: Any, *parts: Any) -> tuple[Tensor, int]:
    """Make the axis that is mapped over the first, before as many as any part has."""
    rank = max(x.ndim - (axis is not None) for x, axis in zip(parts, axes, strict=True))
    moved = (
        x[None] if axis is None else x.movedim(axis, 0) for x, axis in zip(parts, axes, strict=True)
    )
    padded = [x.reshape(x.shape[0], *(1,) * (rank + 1 - x.ndim), *x.shape[1:]) for x in moved]
    return torch.ops.afa.turn(*padded), 0


torch.library.define("afa::turn", "(Tensor real, Tensor imag, Tensor cos, Tensor sin) -> Tensor")
torch.library.impl("afa::turn", "CompositeExplicitAutograd", _turn)
torch.library.register_fake("afa::turn", _shape)
torch.library.register_vmap("afa::turn", _map)


class _Turn(torch.autograd.Function):
    """The operator with its derivative, which is made of it and can be differentiated again."""

    generate_vmap_rule = True

    @staticmethod
    def forward(real: Any, imag: Any, cos: Any, sin: Any) -> Any:
        return torch.ops.afa.turn(real, imag, cos, sin)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *by: Any) -> Any:
        real, imag, cos, sin = ctx.saved_tensors
        one, two = by[0].chunk(2, -1)
        found: list[Any] = [None] * PARTS
        if any(ctx.needs_input_grad[:2]):
            found[:2] = _apply(one, two, cos, -sin).chunk(2, -1)
        if any(ctx.needs_input_grad[2:]):
            found[2:] = one * real + two * imag, two * real - one * imag
        pairs = zip(found, ctx.saved_tensors, strict=True)
        return tuple(None if x is None else x.sum_to_size(like.shape) for x, like in pairs)


_apply: Any = _Turn.apply


def turn(modes: Pair, by: Pair, *, xp: Any) -> Any:
    """Return e^{iθ} ⊙ z, packed."""
    if torch.compiler.is_compiling():  # which puts single operations together by itself
        return turned(modes, by, xp=xp)
    return _apply(*modes, *by)
