"""Layers of PyTorch: a forward and backward pass, without an optimiser."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from afa_bench.candidates import Baseline, Call, Task
from afa_bench.setting import Setting
from afa_torch import AdaptiveFilterAttention

WEIGHTINGS = {"student": "student_t"}
"""Names of weightings in the settings of a layer, where they differ."""


class CausalAttention(nn.Module):
    """`nn.MultiheadAttention` of tokens (batch, n, channels) that see those before them."""

    def __init__(self, channels: int, heads: int, tokens: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(channels, heads, batch_first=True)
        mask = nn.Transformer.generate_square_subsequent_mask(tokens)
        self.register_buffer("mask", mask)

    def forward(self, x: torch.Tensor) -> Any:
        """Return the output and None for the weights."""
        mask: Any = self.mask
        return self.attention(x, x, x, attn_mask=mask, is_causal=True, need_weights=False)


def filter_attention(task: Task, *, compiled: bool) -> Call:
    """Prepare a pass of the layer of this library."""
    setting = task.setting
    layer = AdaptiveFilterAttention(
        _channels(setting),
        setting.heads,
        form=setting.form.replace("-", "_"),
        weighting=WEIGHTINGS.get(setting.weighting, setting.weighting),
        implementation=setting.implementation,
    )
    return _pass(layer, task, compiled=compiled)


def _prepare(task: Task) -> Call:
    setting = task.setting
    layer = CausalAttention(_channels(setting), setting.heads, setting.tokens)
    return _pass(layer, task, compiled=setting.case == "compiled layer")


def _channels(setting: Setting) -> int:
    return 2 * setting.modes * setting.heads


def _pass(layer: nn.Module, task: Task, *, compiled: bool) -> Call:
    """Return a call that returns the output and its gradients in tokens and parameters."""
    tokens, cotangent = (
        x.transpose(1, 2).flatten(2) for x in (task.inputs.query, task.inputs.cotangent)
    )
    layer = layer.to(tokens.device, tokens.dtype)
    leaves = [tokens.requires_grad_(), *(x for x in layer.parameters() if x.requires_grad)]
    run = torch.compile(layer) if compiled else layer

    def call() -> Any:
        output = run(tokens)[0]
        return output, torch.autograd.grad(output, leaves, cotangent)

    return call


def _unsupported(setting: Setting) -> str:
    return "" if setting.case in ("layer", "compiled layer") else "is a layer"


MULTIHEAD = Baseline(
    "multihead", "nn.MultiheadAttention, causal, of as many channels", _unsupported, _prepare
)
