"""Adaptive Filter Attention as an attention implementation of Transformers, ``"afa"``."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, AttentionInterface

from afa_torch.transformers.dynamics import Visible, attend, shared_model

NAME = "afa"
"""The name of the implementation, and of the submodule of an attention module."""

UNSUPPORTED = ("softcap", "position_bias", "s_aux", "head_mask")
"""Arguments of other implementations that change logits or weights."""


class Defaults(NamedTuple):
    """What attention modules without parameters of their own use; see `register`."""

    decay: float = 0.0
    process: float = 0.0
    radius: float | None = None
    implementation: str = "auto"


def register(
    *,
    decay: float = 0.0,
    process: float = 0.0,
    radius: float | None = None,
    implementation: str = "auto",
) -> None:
    """Make ``attn_implementation="afa"`` known to Transformers.

    Attention modules of `convert` use their own parameters. Others use those given here, the same
    in all heads, and the noise of their rotary limit, η² = γ² = R²/d at the temperature of the
    model. By default the result is that of dot products. May be called again to change them.

    Parameters
    ----------
    decay : float
        μ ≥ 0, 1/token.
    process : float
        σ² ≥ 0, in units of squared channels per token.
    radius : float or None
        R, the length that keys are extended to; it must be given with a `decay` or `process`, on
        which results then depend. None is that of the longest key of each call.
    implementation : str
        As in `afa_core.attention`, for all modules.

    Raises
    ------
    ValueError
        If a number is out of range, or `radius` is missing.

    Notes
    -----
    Times of tokens are their `position_ids` where a model passes these to its attention and keys
    are as many as queries, otherwise places in the sequence, cache included. Cross-attention has
    lags of zero. Attention weights are not returned.

    Examples
    --------
    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> sizes = {"vocab_size": 8, "hidden_size": 8, "intermediate_size": 8}
    >>> config = LlamaConfig(num_hidden_layers=1, num_attention_heads=2, **sizes)
    >>> register()
    >>> model = LlamaForCausalLM(config)
    >>> model.set_attn_implementation("afa")
    """
    for name, x in (("decay", decay), ("process", process), ("radius", radius)):
        if x is not None and not 0.0 <= x < float("inf"):
            msg = f"`{name}` must be a finite number ≥ 0, got {x!r}. Pass one."
            raise ValueError(msg)
    if radius is None and (decay or process):
        msg = (
            "`radius` must be given with a `decay` or `process`, whose effect depends on it, got "
            "None. Pass a length that no key exceeds, or use `convert`."
        )
        raise ValueError(msg)
    defaults = Defaults(decay, process, radius, implementation)
    AttentionInterface.register(NAME, partial(attention_forward, defaults=defaults))
    AttentionMaskInterface.register(NAME, sdpa_mask)


def ensure_registered() -> None:
    """Make the implementation known, unless it is."""
    if NAME not in ALL_ATTENTION_FUNCTIONS:
        register()


def attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    position_ids: Tensor | None = None,
    *,
    defaults: Defaults,
    **others: Any,
) -> tuple[Tensor, None]:
    """Filter tokens as the attention interface of Transformers asks.

    Parameters
    ----------
    module : Module
        The attention module; its submodule ``afa``, if any, has the parameters.
    query : Tensor, shape (batch, heads, n, channels)
        Rotated by the model, as `key`.
    key, value : Tensor, shape (batch, key heads, m, channels)
    attention_mask : boolean Tensor, broadcastable to (batch, heads, n, m), or None
    dropout : float
        0.
    scaling : float or None
        Of the dot products that attention without parameters is equal to.
    is_causal : bool or None
    position_ids : Tensor, shape (batch or 1, n), or None
    defaults : Defaults
    **others
        Ignored, but for those that would change weights.

    Returns
    -------
    output : Tensor, shape (batch, n, heads, channels)
    weights : None

    Raises
    ------
    TypeError
        If the mask is not boolean.
    ValueError
        If there is dropout, or an argument that would change weights.
    """
    _check(attention_mask, dropout, others)
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    if attention_mask is None and causal and 1 < query.shape[2] < key.shape[2]:
        # an empty static cache, whose tail is unused
        key, value = (x[:, :, : query.shape[2]] for x in (key, value))
    visible = _visible(module, query, key, attention_mask, causal, position_ids)
    exporting = defaults.implementation == "auto" and torch.compiler.is_exporting()
    chosen = "reference" if exporting else defaults.implementation
    query, key, value = _of_one_dtype(query, key, value)
    dynamics = getattr(module, NAME, None)
    with torch.autocast(query.device.type, enabled=False):
        if dynamics is None:
            factor: float = query.shape[-1] ** -0.5 if scaling is None else scaling
            model = shared_model(key, factor, defaults.decay, defaults.process, defaults.radius)
            mean = attend(query, key, value, model, visible, chosen)
        else:
            mean = dynamics(query, key, value, visible, chosen)
    return mean.transpose(1, 2).contiguous(), None


def _check(mask: Tensor | None, dropout: float, others: dict[str, Any]) -> None:
    if dropout:
        msg = (
            f"`dropout` must be 0 in Adaptive Filter Attention, got {dropout}. Set the attention "
            "dropout of the model's configuration to 0."
        )
        raise ValueError(msg)
    for name in UNSUPPORTED:
        if others.get(name) is not None:
            msg = (
                f"`{name}` must be None in Adaptive Filter Attention, got a value. Use another "
                "`attn_implementation` for this model."
            )
            raise ValueError(msg)
    if mask is not None and mask.dtype != torch.bool:
        msg = (
            f"`attention_mask` must be boolean, True where a query attends, got {mask.dtype}. Pass "
            "a boolean mask, or one of shape (batch, tokens)."
        )
        raise TypeError(msg)


def _of_one_dtype(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return tokens in the dtype of `torch.autocast`, else in that of values."""
    device, dtype = value.device.type, value.dtype
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
    return query.to(dtype), key.to(dtype), value.to(dtype)


def _visible(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    mask: Tensor | None,
    causal: bool,
    position_ids: Tensor | None,
) -> Visible:
    """Return the mask and the times of grouped heads, (batch, key heads, group, …)."""
    queries, keys = query.shape[2], key.shape[2]
    if mask is not None:
        groups = (key.shape[1], -1) if mask.shape[1] > 1 else (1, 1)
        mask = mask.reshape(mask.shape[0], *groups, *mask.shape[2:])
    query_times = key_times = None
    if _crosses(module, causal):
        query_times, key_times = (
            query.new_zeros(count, dtype=torch.float32) for count in (queries, keys)
        )
    elif queries == keys:
        if position_ids is not None and position_ids.ndim == 2:
            query_times = key_times = position_ids[:, None, None, :]
    elif causal and mask is not None:
        # the last key that a query attends to is its own token, wherever a cache has it
        query_times = keys - 1 - mask.flip(-1).to(torch.int8).argmax(-1)
        key_times = torch.arange(keys, device=query.device)
    return Visible(causal and mask is None, mask, query_times, key_times)


def _crosses(module: nn.Module, causal: bool) -> bool:
    """Whether queries and keys are of different sequences."""
    if causal:
        return False
    crosses = "Cross" in type(module).__name__ or getattr(module, "is_cross_attention", False)
    # in an encoder-decoder model the decoder's own attention is causal
    return bool(crosses or getattr(module, "is_decoder", False))
