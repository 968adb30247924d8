"""Replacement of `nn.MultiheadAttention` in models, with its weights."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from afa_torch.arguments import check_unsupported
from afa_torch.multihead import MultiheadAttention
from afa_torch.projections import parameter

Model = TypeVar("Model", bound=nn.Module)


def replace_attention(module: Model, **options: Any) -> Model:
    """Replace every `nn.MultiheadAttention` in a model, and return the model.

    Weights and biases of projections are copied, and so are `dropout`, `batch_first`, devices,
    dtypes, whether the module is in training and which weights are trained. A module that occurs
    several times is replaced by one.

    Parameters
    ----------
    module : Module
        Changed in place. If it is an `nn.MultiheadAttention` itself, its replacement is returned.
    **options
        Arguments of `MultiheadAttention`, in place of those of each module: settings such as
        ``form`` and ``start``, or ``dropout``.

    Raises
    ------
    TypeError
        If an option is unknown.
    ValueError
        If a module has biases of keys and values, ``add_zero_attn``, or an odd number of channels
        in a head, or shares a weight with another module, or if there is no such module. The model
        is then unchanged.

    Examples
    --------
    >>> model = nn.TransformerEncoderLayer(8, 2, batch_first=True)
    >>> type(replace_attention(model, form="diagonal").self_attn).__name__
    'MultiheadAttention'
    """
    found = [each for each in module.modules() if isinstance(each, nn.MultiheadAttention)]
    if not found:
        msg = (
            f"`module` must have an nn.MultiheadAttention, got a {type(module).__name__} without "
            "one. Write AdaptiveFilterAttention in the place of attention of the model's own."
        )
        raise ValueError(msg)
    _check_untied(module, found)
    replacements = {id(each): _replacement(each, options) for each in found}
    for parent in module.modules():
        for name, child in list(parent._modules.items()):  # with the repeated ones
            if id(child) in replacements:
                setattr(parent, name, replacements[id(child)])
    replaced: Any = replacements.get(id(module), module)
    return replaced  # type: ignore[no-any-return]


def _replacement(module: nn.MultiheadAttention, options: dict[str, Any]) -> MultiheadAttention:
    added = module.bias_k is not None
    check_unsupported(add_bias_kv=added, add_zero_attn=module.add_zero_attn)
    arguments: dict[str, Any] = {
        "dropout": module.dropout,
        "bias": module.in_proj_bias is not None,
        "kdim": module.kdim,
        "vdim": module.vdim,
        "batch_first": module.batch_first,
        "device": module.out_proj.weight.device,
        "dtype": module.out_proj.weight.dtype,
    }
    new = MultiheadAttention(module.embed_dim, module.num_heads, **arguments | options)
    with torch.no_grad():
        for name, x in _weights(module).items():
            own = parameter(new.attention, name)
            if own.shape != x.shape:
                msg = (
                    f"`options` must leave `{name}` of shape {tuple(x.shape)}, which is copied, "
                    f"got {tuple(own.shape)}. Leave out numbers of modes and of heads."
                )
                raise ValueError(msg)
            own.copy_(x)
            if isinstance(own, nn.Parameter):
                own.requires_grad_(x.requires_grad)
    return new.train(module.training)


def _check_untied(module: nn.Module, found: list[nn.MultiheadAttention]) -> None:
    """Raise ValueError if a parameter of one of these modules is that of another module too."""
    owners: dict[int, str] = {}
    replaced = {id(part) for each in found for part in each.modules()}
    for name, part in sorted(module.named_modules(), key=lambda each: id(each[1]) in replaced):
        for own, x in part.named_parameters(name, recurse=False):
            other = owners.setdefault(id(x), own)
            if other != own and id(part) in replaced:
                msg = (
                    f"`module` must have attention whose weights are its own, got {own!r}, which "
                    f"is {other!r} too. Copy one of the two."
                )
                raise ValueError(msg)


def _weights(module: nn.MultiheadAttention) -> dict[str, Tensor]:
    """Return weights and biases by the names of `afa_core.layer.initial`."""
    names = ("query", "key", "value")
    weights: Any = (module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)
    if module.in_proj_weight is not None:
        weights = module.in_proj_weight.chunk(3)
    found = {f"{name}_weight": x for name, x in zip(names, weights, strict=True)}
    found["output_weight"] = module.out_proj.weight
    if module.in_proj_bias is not None:
        biases = module.in_proj_bias.chunk(3)
        found |= {f"{name}_bias": x for name, x in zip(names, biases, strict=True)}
        found["output_bias"] = module.out_proj.bias
    return found
