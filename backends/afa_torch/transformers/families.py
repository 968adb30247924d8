"""The rotary models that can be converted: where their attention is, and how long keys can be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from afa_torch.transformers.dynamics import Start


class Family(NamedTuple):
    """The attention of a model type.

    Parameters
    ----------
    attention : str
        The name of its attention module in a decoder layer.
    joint : str
        The name of the projection of queries, keys and values in one; empty if there are three.
    """

    attention: str = "self_attn"
    joint: str = ""


FAMILIES = {
    "llama": Family(),
    "mistral": Family(),
    "qwen2": Family(),
    "gpt_neox": Family("attention", "query_key_value"),
}
"""Families by `model_type` of a configuration."""


class Site(NamedTuple):
    """An attention module and the norm of its inputs.

    Parameters
    ----------
    attention, norm : Module
    family : Family
    heads, key_heads, channels : int
        The numbers of heads of queries and of keys, and the channels of a head.
    """

    attention: Any
    norm: Any
    family: Family
    heads: int
    key_heads: int
    channels: int


def sites(model: nn.Module) -> list[Site]:
    """Return the attention modules of a model.

    Raises
    ------
    TypeError
        If the model is not of a known family.
    """
    config: Any = getattr(model, "config", None)
    kind = getattr(config, "model_type", None)
    if kind not in FAMILIES:
        msg = (
            f"`model` must be of one of the types {sorted(FAMILIES)}, got {type(model).__name__} "
            f"of type {kind!r}. Use `register` for models whose parameters stay as they are."
        )
        raise TypeError(msg)
    found = list(_sites(model, config, FAMILIES[kind]))
    if not found:
        msg = f"`model` must have attention layers, got none in {type(model).__name__}."
        raise TypeError(msg)
    return found


def _sites(model: nn.Module, config: Any, family: Family) -> Iterator[Site]:
    heads = config.num_attention_heads
    key_heads = getattr(config, "num_key_value_heads", None) or heads
    for layer in model.modules():
        attention, norm = (
            getattr(layer, name, None) for name in (family.attention, "input_layernorm")
        )
        if attention is not None and norm is not None:
            channels = getattr(attention, "head_dim", None) or attention.head_size
            yield Site(attention, norm, family, heads, key_heads, channels)


@torch.no_grad()
def bounds(site: Site, factor: float) -> Start:
    """Return a length that no key exceeds, and the mean one of queries of white tokens.

    A normalised token of n features has at most the length √n, so ‖k‖ ≤ ‖W diag g‖₂√n + ‖Wb + c‖,
    where g and b are the gain and the bias of the norm, and c is the bias of the projection.

    Parameters
    ----------
    site : Site
    factor : float
        By which the rotary embedding multiplies queries and keys.

    Raises
    ------
    TypeError
        If weights are not floating.
    """
    (query, query_offset), (key, key_offset) = (_projection(site, index) for index in (0, 1))
    features = query.shape[-1]
    longest = torch.linalg.matrix_norm(key, ord=2) * features**0.5 + key_offset.norm(dim=-1)
    mean2 = query.square().sum((-2, -1)) + query_offset.square().sum(-1)
    return Start(longest * factor, mean2.sqrt() * factor, site.attention.scaling)


def _projection(site: Site, index: int) -> tuple[Tensor, Tensor]:
    """Return W diag g, (heads, channels, features), and Wb + c, (heads, channels)."""
    family = site.family
    linear = getattr(site.attention, family.joint or ("q_proj", "k_proj")[index])
    if not linear.weight.is_floating_point() or linear.weight.ndim != 2:
        msg = (
            "`radius` or `sample` must be given unless the weights of projections are floating "
            f"matrices, got {linear.weight.dtype} of shape {tuple(linear.weight.shape)}. Pass one."
        )
        raise TypeError(msg)
    gain = site.norm.weight
    wide = torch.promote_types(gain.dtype, torch.float32)
    weight = linear.weight.to(wide)
    offset = weight.new_zeros(weight.shape[0]) if linear.bias is None else linear.bias.to(wide)
    if getattr(site.norm, "bias", None) is not None:
        offset = offset + weight @ site.norm.bias.to(wide)
    weight = weight * gain.to(wide)
    weight, offset = (x.unflatten(0, (-1, site.channels)) for x in (weight, offset))
    if family.joint:  # heads of queries, keys and values take turns
        weight, offset = weight[index::3], offset[index::3]
    return weight, offset
