"""Rotary encodings in PyTorch, and fused dot-product attention with them."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from afa_bench.baselines import rotary
from afa_bench.candidates import Baseline, Call, Task
from afa_bench.setting import Setting

BACKENDS = {"flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION}
"""Kernels of dot-product attention that are named, beside the one that PyTorch chooses."""


def rotate(x: Any, rotation: Any) -> Any:
    """Multiply interleaved pairs by complex numbers (tokens, d), in one pass over `x`."""
    wide = x if x.dtype == torch.float64 else x.float()
    modes = torch.view_as_complex(wide.unflatten(-1, (-1, 2)))
    return torch.view_as_real(modes * rotation).flatten(-2).to(x.dtype)


def sdpa(query: Any, key: Any, value: Any, rotation: Any) -> Any:
    """Return causal dot-product attention with rotary encodings; queries are the last tokens."""
    queries = query.shape[-2]
    return scaled_dot_product_attention(
        rotate(query, rotation[-queries:]), rotate(key, rotation), value, is_causal=queries > 1
    )


def _prepare(task: Task) -> Call:
    inputs = task.inputs
    rotation = torch.complex(*rotary.tables(task))
    if task.setting.case == "decode":
        # The cache holds rotated keys.
        key = rotate(inputs.key, rotation)

        def step(query: Any, key: Any, value: Any, rotation: Any) -> Any:
            return scaled_dot_product_attention(rotate(query, rotation), key, value)

        return task.call(step, (inputs.query, key, inputs.value), (rotation[-1:],))
    return task.call(sdpa, tuple(inputs[:3]), (rotation,))


def _by(name: str) -> Baseline:
    """Return dot-product attention by a kernel of that name."""

    def prepare(task: Task) -> Call:
        call = _prepare(task)

        def run() -> Any:
            with sdpa_kernel(BACKENDS[name]):
                return call()

        return run

    def unsupported(setting: Setting) -> str:
        if not setting.device.startswith("cuda"):
            return "is a kernel for GPUs"
        if setting.dtype != "bfloat16":
            return "takes half precision only"
        return rotary.unsupported(setting)

    title = f"scaled_dot_product_attention by {name}: {rotary.TITLE}"
    return Baseline(f"sdpa-{name}", title, unsupported, prepare, default=False)


SDPA = (
    Baseline(
        "sdpa",
        f"scaled_dot_product_attention: {rotary.TITLE}",
        rotary.unsupported,
        _prepare,
    ),
    *map(_by, BACKENDS),
)
"""Dot-product attention by the kernel that PyTorch chooses, and by those of `BACKENDS`."""
