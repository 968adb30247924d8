"""Checks of the arguments and the state of the layer in PyTorch."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

import torch
from torch import Tensor, nn

from afa_core._array.arrays import check_array, dtype_name
from afa_core.layer import Settings, initial
from afa_torch.projections import state_name

REPLACEMENTS = {
    "attn_mask": "Pass `mask`, which is True where a query may attend",
    "key_padding_mask": "Pass `key_mask=~key_padding_mask`, which is True for tokens",
    "is_causal": "Pass `causal`",
    "average_attn_weights": "Take the mean of the weights over heads",
    "batch_first": "Leave it out: tokens are (batch, tokens, features)",
    "add_bias_kv": "Append tokens to `key` and `value`",
    "add_zero_attn": "Leave it out: the output of a query with no visible key is zero",
    "kdim": "Pass `key_features`",
    "vdim": "Pass `value_features`",
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


def check_unsupported(**given: Any) -> None:
    """Raise ValueError if an option of `nn.MultiheadAttention` was given that has no meaning."""
    for name, x in given.items():
        if x:
            msg = (
                f"`{name}` must be False, got {x!r}: an added key has no time, and a query with no "
                "visible key has a zero estimate without one. Leave it out."
            )
            raise ValueError(msg)


def check_batches(tokens: Mapping[str, Tensor], axis: int) -> None:
    """Raise unless all are floating tensors of two axes, or of three with one batch on an axis."""
    check_tokens(tokens, None)
    query = tokens["query"]
    if query.ndim not in (2, 3):
        msg = f"`query` must have 2 axes, or 3 with a batch, got shape {tuple(query.shape)}."
        raise ValueError(msg)
    for name, x in tokens.items():
        if x.ndim != query.ndim:
            msg = f"`{name}` must have {query.ndim} axes like `query`, got shape {tuple(x.shape)}."
            raise ValueError(msg)
        if x.ndim == 3 and x.shape[axis] != query.shape[axis]:
            msg = (
                f"`{name}` must have a batch of {query.shape[axis]} on axis {axis} like `query`, "
                f"got shape {tuple(x.shape)}. Expand it, or set `batch_first`."
            )
            raise ValueError(msg)


def prepare_state(
    module: nn.Module,
    state: MutableMapping[str, Any],
    prefix: str,
    metadata: Mapping[str, Any],
    strict: bool,
    missing: list[str],
    unexpected: list[str],
    errors: list[str],
) -> None:
    """Rename projections, and add an error about the first array of the wrong shape.

    A hook of `load_state_dict`. States of earlier versions, and files, have the names of
    `afa_core.layer.initial`.
    """
    settings: Settings = module.settings  # type: ignore[assignment]
    shapes = initial(settings)
    for name in shapes:
        if state_name(name) != name and f"{prefix}{name}" in state:
            state[f"{prefix}{state_name(name)}"] = state.pop(f"{prefix}{name}")
    for name, each in shapes.items():
        x = state.get(f"{prefix}{state_name(name)}")
        if x is not None and tuple(x.shape) != each.shape:
            msg = (
                f"`{prefix}{state_name(name)}` must have shape {each.shape} in a layer of form "
                f"{settings.form!r}, got {tuple(x.shape)}. Make the layer with the settings that "
                "the state was saved with."
            )
            errors.append(msg)
            return
