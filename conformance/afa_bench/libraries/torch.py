"""PyTorch: eager; its baselines are fused dot-product attention, FlexAttention and a compiler."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from afa_bench.baselines import products, published
from afa_bench.candidates import Baseline, Call, Profiling, Task
from afa_bench.cases import attend
from afa_bench.libraries.torch_flex import FLEX
from afa_bench.libraries.torch_layers import MULTIHEAD
from afa_bench.libraries.torch_rotary import SDPA


def _synchronize(_: Any) -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _vjp(function: Callable[..., Any], cotangent: Any, *arrays: Any) -> Any:
    leaves = [x.detach().requires_grad_() for x in arrays]
    output = function(*leaves)
    return output, torch.autograd.grad(output, leaves, cotangent, materialize_grads=True)


def _device_memory(call: Call, device: str) -> int | None:
    if not torch.cuda.is_available() or device == "cpu":
        return None
    call()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    return int(torch.cuda.max_memory_allocated()) - int(before)


def _gpu() -> str:
    return str(torch.cuda.get_device_name(0)) if torch.cuda.is_available() else ""


def _products(query: Any, key: Any, value: Any) -> Any:
    """Return products of tiles; on a GPU of whole rows, which take fewer launches."""
    if query.is_cuda:
        return products.products(query, key, value, columns=None)
    return products.products(query, key, value)


def _compiled_reference(task: Task) -> Call:
    """Prepare the reference, compiled by PyTorch."""
    torch.compiler.reset()  # so that settings before this one do not count against its limit
    return attend(task, implementation="reference", wrap=partial(torch.compile, dynamic=False))


COMPILED = Baseline(
    "reference-compiled",
    "this library, implementation 'reference', compiled",
    lambda setting: "" if setting.case == "attention" else "runs attention over a sequence only",
    _compiled_reference,
    default=False,
)
PROFILING = Profiling(
    synchronize=_synchronize,
    compile=lambda function, arrays: function,
    vjp=_vjp,
    device_memory=_device_memory,
    gpu=_gpu,
)
BASELINES = (
    *SDPA,
    FLEX,
    COMPILED,
    MULTIHEAD,
    products.baseline(_products),
    *published.baselines(partial(torch.softmax, dim=-1)),
)
