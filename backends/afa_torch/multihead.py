"""A drop-in replacement of `nn.MultiheadAttention`, with its arguments and conventions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn

from afa_core.layer import Layer
from afa_core.model.sde import RadialTangential
from afa_torch.arguments import check_batches, check_unsupported
from afa_torch.layer import AdaptiveFilterAttention
from afa_torch.masks import convert_masks
from afa_torch.parameters import parameter_groups


class NoFusedKernel:
    """Stands for a weight in place of a tensor, so that PyTorch's fused kernels are not used.

    `nn.TransformerEncoder` and its layers, in evaluation, pass the weights of their attention to a
    kernel of dot-product attention, unless one of them overrides PyTorch's functions.
    """

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Raise TypeError: this is not a tensor."""
        msg = (
            f"`in_proj_weight` and `in_proj_bias` must not be used with {function.__name__}: the "
            "projections are `attention.q_proj`, `attention.k_proj` and `attention.v_proj`."
        )
        raise TypeError(msg)


NO_FUSED_KERNEL = NoFusedKernel()


class MultiheadAttention(nn.Module):
    """Adaptive Filter Attention with the arguments of `nn.MultiheadAttention`.

    It takes the place of `nn.MultiheadAttention` in `nn.TransformerEncoderLayer`,
    `nn.TransformerDecoderLayer` and other models; `replace_attention` puts it there.

    Parameters
    ----------
    embed_dim, num_heads : int
    dropout : float
        As in `AdaptiveFilterAttention`. If it is 0, training takes O(n) memory.
    bias : bool
    add_bias_kv, add_zero_attn : bool
        Must be False.
    kdim, vdim : int or None
        Channels of keys and values; None is `embed_dim`.
    batch_first : bool
        Whether tokens are (batch, tokens, channels) instead of (tokens, batch, channels).
    device : device or None
    dtype : dtype or None
    **settings
        The arguments of `AdaptiveFilterAttention` that follow `num_heads`, such as ``form`` and
        ``num_kv_heads``.

    Attributes
    ----------
    attention : AdaptiveFilterAttention

    Raises
    ------
    TypeError
        If a setting is unknown, or of the wrong kind.
    ValueError
        If settings do not fit each other, or are not supported.

    Notes
    -----
    A query with no visible key gives a zero estimate, where `nn.MultiheadAttention` gives NaN.

    Examples
    --------
    >>> layer = nn.TransformerEncoderLayer(8, 2, batch_first=True)
    >>> layer.self_attn = MultiheadAttention(8, 2, batch_first=True)
    >>> layer(torch.randn(3, 10, 8)).shape
    torch.Size([3, 10, 8])
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
        **settings: Any,
    ) -> None:
        check_unsupported(add_bias_kv=add_bias_kv, add_zero_attn=add_zero_attn)
        super().__init__()
        self.attention = AdaptiveFilterAttention(
            embed_dim,
            num_heads,
            dropout=dropout,
            bias=bias,
            key_features=None if kdim == embed_dim else kdim,
            value_features=None if vdim == embed_dim else vdim,
            device=device,
            dtype=dtype,
            **settings,
        )
        self.batch_first = batch_first

    def __setattr__(self, name: str, x: Any) -> None:
        """Set an attribute; `dropout` and `out_proj` are those of `attention`."""
        if name in ("dropout", "out_proj"):
            setattr(self.attention, name, x)
        else:
            super().__setattr__(name, x)

    @classmethod
    def from_layer(cls, layer: Layer, *, batch_first: bool = False, **options: Any) -> Self:
        """Return a module with a copy of a layer over tensors, such as one of `from_rotary`.

        Takes the options of `AdaptiveFilterAttention.from_settings`.
        """
        attention = AdaptiveFilterAttention.from_layer(layer, **options)
        module = cls.__new__(cls)
        nn.Module.__init__(module)
        module.attention, module.batch_first = attention, batch_first
        return module

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
        *,
        query_times: Tensor | None = None,
        key_times: Tensor | None = None,
    ) -> tuple[Tensor, Any]:
        """Filter tokens.

        Parameters
        ----------
        query : Tensor, shape (n, batch, embed_dim), (batch, n, embed_dim) or (n, embed_dim)
        key : Tensor, shape (m, batch, kdim), (batch, m, kdim) or (m, kdim)
        value : Tensor, shape (m, batch, vdim), (batch, m, vdim) or (m, vdim)
        key_padding_mask : Tensor, shape (batch, m) or (m,), or None
            True for padding; or floating, added to the logits of all queries.
        need_weights : bool
            Whether to return the attention weights, which takes O(n m) memory.
        attn_mask : Tensor, shape (n, m) or (batch · heads, n, m), or None
            True hides a pair; or floating, added to the logits (spec §8.4). One of 0 and −∞ alone
            is converted to a boolean mask; any other needs the reference, in O(n m) memory.
        average_attn_weights : bool
            Whether to return the mean of the weights over heads.
        is_causal : bool
            Says that the mask is causal; `attn_mask` is then not read if n is m.
        query_times, key_times : Tensor, shape (batch, n) or (n,), and (batch, m) or (m,), or None
            As in `afa_core.attention`.

        Returns
        -------
        output : Tensor, shaped as `query`
        weights : Tensor, shape (batch, n, m), or (batch, heads, n, m) if not averaged, or None
            With a last axis of modes in the diagonal form, a `RadialTangential` of two in the
            radial–tangential form.

        Raises
        ------
        TypeError
            If an argument is of the wrong kind, dtype or library.
        ValueError
            If shapes, devices or options do not fit each other.

        References
        ----------
        Spec §4–§6, §8.4.
        """
        check_batches({"query": query, "key": key, "value": value}, 0 if self.batch_first else 1)
        swapped = not self.batch_first and query.ndim == 3
        tokens: Any = _swapped(query, key, value) if swapped else (query, key, value)
        sizes = tokens[0].shape[-2], tokens[1].shape[-2]
        masks = convert_masks(
            attn_mask,
            key_padding_mask,
            is_causal=is_causal,
            batch=tuple(tokens[0].shape[:-2]),
            heads=self.num_heads,
            sizes=sizes,
        )
        if key_times is None and tokens[1] is tokens[0]:
            key_times = query_times
        if masks.key_mask is None:  # else the layer would take masked queries for padding too
            tokens = _without_repetition(*tokens)
        output, weights = self.attention(
            *tokens,
            query_times=query_times,
            key_times=key_times,
            need_weights=need_weights,
            **masks._asdict(),
        )
        if weights is not None and average_attn_weights:
            weights = _mean_over_heads(weights, self.attention.settings.form == "diagonal")
        return (output.transpose(0, 1) if swapped else output), weights

    def parameter_groups(self, lr: float, **options: float) -> list[dict[str, Any]]:
        """Return groups of parameters for an optimiser; takes the arguments of `parameter_groups`.

        Dynamics and noise have no weight decay, and a learning rate of their own.
        """
        return parameter_groups(self, lr, **options)

    def extra_repr(self) -> str:
        """Return the order of the axes."""
        return f"batch_first={self.batch_first}"

    @property
    def embed_dim(self) -> int:
        """Channels of queries and outputs."""
        return self.attention.settings.features

    @property
    def kdim(self) -> int:
        """Channels of keys."""
        return self.attention.settings.features_of("key")

    @property
    def vdim(self) -> int:
        """Channels of values."""
        return self.attention.settings.features_of("value")

    @property
    def num_heads(self) -> int:
        """Heads of queries."""
        return self.attention.settings.heads

    @property
    def head_dim(self) -> int:
        """Real channels of each head."""
        return 2 * self.attention.settings.modes

    @property
    def dropout(self) -> float:
        """Probability that the weight of a pair is set to zero in training."""
        return self.attention.dropout

    @property
    def out_proj(self) -> nn.Module:
        """The projection of estimates to outputs."""
        return self.attention.get_submodule("out_proj")

    @property
    def in_proj_weight(self) -> Any:
        """Stands for a weight, for modules that inspect it."""
        return NO_FUSED_KERNEL

    @property
    def in_proj_bias(self) -> Any:
        """Stands for a bias, for modules that inspect it; None without biases."""
        return NO_FUSED_KERNEL if self.attention.settings.bias else None

    @property
    def _qkv_same_embed_dim(self) -> bool:
        return self.kdim == self.vdim == self.embed_dim


def _swapped(*tokens: Tensor) -> tuple[Tensor, ...]:
    """Return tokens (batch, tokens, channels), the same tensor where arguments are the same."""
    swapped = {id(x): x.transpose(0, 1) for x in tokens}
    return tuple(swapped[id(x)] for x in tokens)


def _without_repetition(
    query: Tensor, key: Tensor, value: Tensor
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Return tokens, None where the default of the layer is the same tensor."""
    return query, None if key is query else key, None if value is key else value


def _mean_over_heads(weights: Any, per_mode: bool) -> Any:
    if isinstance(weights, RadialTangential):
        return RadialTangential(*(each.mean(dim=-3) for each in weights))
    return weights.mean(dim=-4 if per_mode else -3)
