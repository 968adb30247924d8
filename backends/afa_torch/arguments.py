"""Checks of the arguments and the state of the layer in PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from afa_core._array.arrays import check_array, dtype_name
from afa_core.layer import Settings, initial

REPLACEMENTS = {
    "attn_mask": "Pass `mask`, which is True where a query may attend",
    "key_padding_mask": "Pass `key_mask=~key_padding_mask`, which is True for tokens",
    "is_causal": "Pass `causal`",
    "average_attn_weights": "Take the mean of the weights over heads",
    "batch_first": "Leave it out: tokens are (batch, tokens, features)",
    "dropout": "Put an `nn.Dropout` behind the layer",
    "add_bias_kv": "Append tokens to `key` and `value`",
    "add_zero_attn": "Leave it out: the output of a query with no visible key is zero",
    "kdim": "Project keys to `embed_dim` channels first",
    "vdim": "Project values to `embed_dim` channels first",
}
"""Replacements of the arguments of `nn.MultiheadAttention` that this layer does not have."""


def reject_foreign(arguments: Mapping[str, Any]) -> None:
    """Raise TypeError if an argument is one of `nn.MultiheadAttention` alone."""
    for name in arguments:
        if name in REPLACEMENTS:
            msg = (
                f"`{name}` is an argument of nn.MultiheadAttention, not of this layer. "
                f"{REPLACEMENTS[name]}."
            )
            raise TypeError(msg)


def check_tokens(tokens: Mapping[str, Tensor], dtype: torch.dtype | None) -> None:
    """Raise TypeError unless all are floating tensors, of the given dtype if it is not None."""
    for name, x in tokens.items():
        if not isinstance(x, Tensor):
            msg = f"`{name}` must be a torch.Tensor, got {type(x).__name__}. Convert it first."
            raise TypeError(msg)
        check_array(name, x)
        if not x.is_floating_point():
            msg = f"`{name}` must have a floating dtype, got {dtype_name(x.dtype)}. Embed it first."
            raise TypeError(msg)
        if dtype not in (None, x.dtype):
            msg = (
                f"`{name}` must have dtype {dtype_name(dtype)}, that of the projections, got "
                f"{dtype_name(x.dtype)}. Cast one of the two, or compute under torch.autocast."
            )
            raise TypeError(msg)


def check_state(
    module: nn.Module,
    state: Mapping[str, Any],
    prefix: str,
    metadata: Mapping[str, Any],
    strict: bool,
    missing: list[str],
    unexpected: list[str],
    errors: list[str],
) -> None:
    """Add an error about the first array of the wrong shape; a hook of `load_state_dict`."""
    settings: Settings = module.settings  # type: ignore[assignment]
    for name, each in initial(settings).items():
        x = state.get(f"{prefix}{name}")
        if x is not None and tuple(x.shape) != each.shape:
            msg = (
                f"`{prefix}{name}` must have shape {each.shape} in a layer of form "
                f"{settings.form!r}, got {tuple(x.shape)}. Make the layer with the settings that "
                "the state was saved with."
            )
            errors.append(msg)
            return
