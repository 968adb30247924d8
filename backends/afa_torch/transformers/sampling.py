"""The lengths of a model's queries and keys on some input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from afa_torch.transformers.dynamics import MIN_RADIUS, Start, Visible, attend, shared_model
from afa_torch.transformers.families import Site
from afa_torch.transformers.interface import NAME, ensure_registered


class Recorder(nn.Module):
    """Attention by dot products in the place of `Dynamics`, which keeps the lengths of tokens."""

    start: Start

    def __init__(self, scaling: float) -> None:
        super().__init__()
        self.scaling = scaling

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        visible: Visible,
        implementation: str = "auto",
    ) -> Tensor:
        """Return attention of rotated tokens; arguments are those of `attend`."""
        wide = torch.promote_types(key.dtype, torch.float32)
        longest = torch.linalg.vector_norm(key.to(wide), dim=-1).amax((0, 2)).clamp_min(MIN_RADIUS)
        mean = query.to(wide).square().sum(-1).mean((0, 2)).sqrt()
        self.start = Start(longest, mean, self.scaling)
        model = shared_model(key, self.scaling)
        return attend(query, key, value, model, visible, implementation)


@torch.no_grad()
def sampled(
    model: nn.Module, found: list[Site], sample: Tensor | Mapping[str, Tensor]
) -> list[Start]:
    """Return the lengths of the longest key and of the mean query of each attention module."""
    config: Any = model.config
    caller: Any = model
    before = config._attn_implementation
    training = {each: each.training for each in model.modules()}
    ensure_registered()
    recorders = [Recorder(site.attention.scaling) for site in found]
    try:
        for site, recorder in zip(found, recorders, strict=True):
            setattr(site.attention, NAME, recorder)
        caller.set_attn_implementation(NAME)
        model.eval()
        caller(
            **(sample if isinstance(sample, Mapping) else {"input_ids": sample}), use_cache=False
        )
    finally:
        for site in found:
            delattr(site.attention, NAME)
        caller.set_attn_implementation(before)
        for each, own in training.items():
            each.training = own
    return [each.start for each in recorders]
