"""The operations of a tile in PyTorch: in place, in buffers of an evaluation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from afa_core.streaming.operations import Operations, in_place


def operations(device: torch.device) -> Operations:
    """Return the operations on a device."""
    read: Any = Tensor.tolist
    return in_place(
        torch,
        _windows,
        affine=lambda x, a, b, out=None: torch.mul(a, b, out=out).add_(x),
        add_product=lambda x, a, b: torch.addcmul(x, a, b, out=x),
        add_matmul=lambda x, a, b: torch.baddbmm(x, a, b, out=x),
        zero_hidden=_zero_hidden,
        norm2=lambda x: torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_(),
        read=read if device.type == "cpu" else None,  # on others it would wait for the device
        buffers={},
    )


def _zero_hidden(x: Any, visible: Any) -> Any:
    """Clear the bits of hidden pairs, NaN's too; `torch.where` takes six times as long."""
    bits = getattr(torch, f"int{8 * x.element_size()}")
    x.view(bits).bitwise_and_(visible.to(bits).neg_())
    return x


def _windows(x: Any, length: int) -> Any:
    return x.unfold(-1, length, 1)
