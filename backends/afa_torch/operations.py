"""The operations of a tile in PyTorch: in place, in buffers that are kept."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from afa_core.streaming.operations import Operations, in_place

MAX_BUFFER_BYTES = 2**26
"""Bytes of buffers that a thread keeps from one evaluation to the next."""


class _Buffers(threading.local):
    """Buffers that a thread keeps on the CPU, where new memory is mapped page by page.

    Inference mode has buffers of its own: outside of it nothing can write to them.
    """

    def __init__(self) -> None:
        self.by_mode: dict[bool, dict[Any, Tensor]] = {False: {}, True: {}}


_BUFFERS = _Buffers()


@contextmanager
def operations(device: torch.device) -> Iterator[Operations]:
    """Yield the operations on a device."""
    # on other devices, reading would wait for the device
    read: Any = Tensor.tolist
    on_cpu = device.type == "cpu"
    buffers: dict[Any, Any] = _BUFFERS.by_mode[torch.is_inference_mode_enabled()] if on_cpu else {}
    yield in_place(
        torch,
        _windows,
        affine=lambda x, a, b, out=None: torch.mul(a, b, out=out).add_(x),
        add_product=lambda x, a, b: torch.addcmul(x, a, b, out=x),
        add_matmul=lambda x, a, b: torch.baddbmm(x, a, b, out=x),
        zero_hidden=_zero_hidden,
        norm2=lambda x: torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_(),
        read=read if on_cpu else None,
        buffers=buffers,
    )
    if sum(x.nbytes for x in buffers.values()) > MAX_BUFFER_BYTES:
        buffers.clear()


def _zero_hidden(x: Any, visible: Any) -> Any:
    """Clear the bits of hidden pairs, NaN's too; `torch.where` takes six times as long."""
    bits = getattr(torch, f"int{8 * x.element_size()}")
    x.view(bits).bitwise_and_(visible.to(bits).neg_())
    return x


def _windows(x: Any, length: int) -> Any:
    return x.unfold(-1, length, 1)
