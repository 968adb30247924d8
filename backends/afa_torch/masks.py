"""Masks in the conventions of `nn.MultiheadAttention`, in those of this library."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from afa_core._array.arrays import dtype_name
from afa_torch.derivatives import is_differentiated


class Masks(NamedTuple):
    """Masks of a call.

    Parameters
    ----------
    mask : boolean Tensor, shape (n, m) or (batch, heads, n, m), or None
        True attends.
    key_mask : boolean Tensor, shape (..., m), or None
        True for tokens.
    logit_bias : Tensor, shape (n, m), (..., 1, 1, m) or (batch, heads, n, m), or None
    causal : bool
    """

    mask: Tensor | None
    key_mask: Tensor | None
    logit_bias: Tensor | None
    causal: bool


def convert_masks(
    attn_mask: Tensor | None,
    key_padding_mask: Tensor | None,
    *,
    is_causal: bool,
    batch: tuple[int, ...],
    heads: int,
    sizes: tuple[int, int],
) -> Masks:
    """Return masks from those of a call of `nn.MultiheadAttention`.

    Parameters
    ----------
    attn_mask : Tensor, shape (n, m) or (batch · heads, n, m), or None
        Boolean, True hides; or floating, added to the logits.
    key_padding_mask : Tensor, shape (batch, m) or (m,), or None
        Boolean, True for padding; or floating, added to the logits of a key.
    is_causal : bool
        Whether `attn_mask`, if there is one, is the causal mask.
    batch : tuple of int
        The batch axes, one or none.
    heads : int
    sizes : tuple of int
        n and m.
    """
    queries, keys = sizes
    _check("attn_mask", attn_mask, ((queries, keys), (*batch, queries, keys)), heads)
    _check("key_padding_mask", key_padding_mask, ((*batch, keys),))
    causal = is_causal and queries == keys
    if causal:
        attn_mask = None
    elif is_causal and attn_mask is None:
        msg = (
            f"`attn_mask` must be given with `is_causal` for {queries} queries and {keys} keys, "
            "got None: how they are aligned is not known. Pass the mask."
        )
        raise ValueError(msg)
    mask, bias = _split(attn_mask)
    if attn_mask is not None and attn_mask.ndim == 3:
        shape = (*batch, heads, queries, keys)
        mask, bias = (None if x is None else x.reshape(shape) for x in (mask, bias))
    key_mask, key_bias = _split(key_padding_mask)
    if key_bias is not None:
        key_bias = key_bias[..., None, None, :]  # (..., 1, 1, m)
        bias = key_bias if bias is None else bias + key_bias
    return Masks(mask, key_mask, bias, causal)


def _check(
    name: str, mask: Tensor | None, shapes: tuple[tuple[int, ...], ...], heads: int = 1
) -> None:
    """Raise unless a mask is boolean or floating and has one of the shapes."""
    if mask is None:
        return
    if not isinstance(mask, Tensor) or not (mask.dtype == torch.bool or mask.is_floating_point()):
        kind = dtype_name(mask.dtype) if isinstance(mask, Tensor) else type(mask).__name__
        msg = f"`{name}` must be a boolean (True hides) or floating tensor, got {kind}. Convert it."
        raise TypeError(msg)
    accepted = [shapes[0]]
    for *leading, queries, keys in shapes[1:]:
        accepted.append((heads * (leading[0] if leading else 1), queries, keys))
    if tuple(mask.shape) not in accepted:
        listed = " or ".join(map(str, accepted))
        msg = f"`{name}` must have shape {listed}, got {tuple(mask.shape)}."
        raise ValueError(msg)


def _split(mask: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Return which pairs are visible, and the bias of logits, None where it is zero.

    A mask of 0 and −∞ alone hides pairs and adds nothing, where values can be read.
    """
    if mask is None:
        return None, None
    if mask.dtype == torch.bool:
        return mask.logical_not(), None
    visible = mask != -torch.inf
    bias = torch.where(visible, mask, 0.0)
    return visible, None if _is_zero(bias) else bias


def _is_zero(bias: Tensor) -> bool:
    """Return whether a bias is known to be zero, and has no derivative."""
    if torch.compiler.is_compiling() or is_differentiated(bias):
        return False
    try:
        return not bias.any()
    except RuntimeError:  # of tensors without values
        return False
