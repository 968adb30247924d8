"""What measuring asks of PyTorch, and the rivals that are PyTorch's own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from afa_core.command.bench import products, published
from afa_core.command.bench.contender import Call, Instruments
from afa_torch.rivals import FLEX, SDPA


def _wait(_: Any) -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _pull(function: Callable[..., Any], upstream: Any, *arrays: Any) -> Any:
    leaves = [x.detach().requires_grad_() for x in arrays]
    output = function(*leaves)
    return output, torch.autograd.grad(output, leaves, upstream, materialize_grads=True)


def _device_memory(call: Call, device: str) -> int | None:
    if not torch.cuda.is_available() or device == "cpu":
        return None
    call()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    return int(torch.cuda.max_memory_allocated()) - int(before)


def _gpu() -> str:
    return str(torch.cuda.get_device_name(0)) if torch.cuda.is_available() else ""


INSTRUMENTS = Instruments(
    wait=_wait,
    compile=lambda function, arrays: function,
    pull=_pull,
    device_memory=_device_memory,
    gpu=_gpu,
    rivals=(
        SDPA,
        FLEX,
        products.rival(),
        *published.rivals(partial(torch.softmax, dim=-1)),
    ),
)
