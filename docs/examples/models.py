"""Small transformers in PyTorch with Adaptive Filter Attention, and their rotary baselines."""

from functools import partial

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from afa_torch.layer import AdaptiveFilterAttention


def projections(features, count=1, *, bias=True):
    """Return linear maps to as many features, with initial values as in a filter layer."""
    layer = nn.Linear(features, count * features, bias=bias)
    nn.init.normal_(layer.weight, std=(1.5 * features) ** -0.5)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


class RotaryAttention(nn.Module):
    """Dot-product attention with rotary encodings, the baseline.

    Frequencies are spaced in equal ratios between a minimum and a maximum. With `value_rotation`
    values rotate too, from the time of their key to that of the query.
    """

    def __init__(
        self, features, heads, *, frequency=(1e-4, 1.0), learned=False, value_rotation=False
    ):
        super().__init__()
        self.heads, self.value_rotation = heads, value_rotation
        self.project = projections(features, 3)
        self.output = projections(features)
        least, greatest = frequency
        modes = features // (2 * heads)
        frequencies = greatest * (least / greatest) ** (torch.arange(modes) / (modes - 1))
        self.frequency = nn.Parameter(frequencies, requires_grad=learned)

    def forward(self, x, *, times=None, key_mask=None, causal=True):
        query, key, value = (
            self.project(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        )
        if times is None:
            times = torch.arange(x.shape[1], dtype=x.dtype)[None]
        angle = times[:, None, :, None] * self.frequency
        query, key = self.rotate(query, angle), self.rotate(key, angle)
        if self.value_rotation:
            value = self.rotate(value, angle)
        mask = None if key_mask is None else key_mask[:, None, None, :]
        attended = scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal)
        if self.value_rotation:
            attended = self.rotate(attended, -angle)
        return self.output(attended.transpose(1, 2).flatten(-2))

    @staticmethod
    def rotate(x, angle):
        """Rotate the pairs (x₀, x₁), (x₂, x₃), …"""
        real, imag = x[..., 0::2], x[..., 1::2]
        cos, sin = angle.cos(), angle.sin()
        return torch.stack([real * cos - imag * sin, real * sin + imag * cos], -1).flatten(-2)


class FilterAttention(nn.Module):
    """Adaptive Filter Attention with the signature of `RotaryAttention`."""

    def __init__(self, features, heads, **settings):
        super().__init__()
        self.layer = AdaptiveFilterAttention(features, heads, **settings)

    def forward(self, x, *, times=None, **masks):
        output, _ = self.layer(x, query_times=times, **masks)
        return output


class Block(nn.Module):
    """A transformer block: attention and a perceptron, each with a residual connection."""

    def __init__(self, features, attention, *, normalised=True):
        super().__init__()
        self.attention_norm = nn.RMSNorm(features) if normalised else nn.Identity()
        self.attention = attention
        self.perceptron_norm = nn.RMSNorm(features)
        self.perceptron = nn.Sequential(
            nn.Linear(features, 4 * features),
            nn.GELU(approximate="tanh"),
            nn.Linear(4 * features, features),
        )

    def forward(self, x, **options):
        x = x + self.attention(self.attention_norm(x), **options)
        return x + self.perceptron(self.perceptron_norm(x))


class SequenceFilter(nn.Module):
    """Estimates of a state from all measurements up to its time, (batch, tokens, channels)."""

    def __init__(self, channels, features, blocks):
        super().__init__()
        self.embed = nn.Linear(channels, features)
        self.blocks = nn.ModuleList(blocks)
        self.output = nn.Linear(features, channels)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, measurements, times):
        x = self.embed(measurements)
        for block in self.blocks:
            x = block(x, times=times)
        return measurements + self.output(x)


class LanguageModel(nn.Module):
    """Logits of the next token, (batch, tokens, vocabulary), from integer tokens."""

    def __init__(self, vocabulary, features, blocks):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, features)
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.RMSNorm(features)
        self.output = nn.Linear(features, vocabulary, bias=False)

    def forward(self, tokens):
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x)
        return self.output(self.norm(x))


def blocks(kind, features, heads, count, *, normalised=True, **settings):
    """Return blocks with attention of a kind, ``"filter"`` or ``"rotary"``."""
    attention = partial({"filter": FilterAttention, "rotary": RotaryAttention}[kind], **settings)
    return [
        Block(features, attention(features, heads), normalised=normalised) for _ in range(count)
    ]
