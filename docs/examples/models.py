"""Small transformers on PyTorch whose attention filters, and their rotary twins."""

from functools import partial

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from afa_torch.layer import AdaptiveFilterAttention


class RotaryAttention(nn.Module):
    """Dot-product attention with rotary encodings, causal, to compare with.

    Frequencies lie between a least and a greatest one, and are learnt where that is asked.
    """

    def __init__(self, features, heads, *, frequency=(1e-4, 1.0), learnt=False):
        super().__init__()
        self.heads = heads
        self.project = nn.Linear(features, 3 * features)
        self.output = nn.Linear(features, features)
        least, greatest = frequency
        modes = features // (2 * heads)
        ladder = greatest * (least / greatest) ** (torch.arange(modes) / (modes - 1))
        self.frequency = nn.Parameter(ladder, requires_grad=learnt)

    def forward(self, x, *, times=None):
        batch, tokens, features = x.shape
        shape = (batch, tokens, 3, self.heads, features // self.heads)
        query, key, value = self.project(x).reshape(shape).permute(2, 0, 3, 1, 4)
        if times is None:
            times = torch.arange(tokens, dtype=x.dtype)[None]
        angle = times[:, None, :, None] * self.frequency
        query, key = (self.turn(each, angle) for each in (query, key))
        found = scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.output(found.transpose(1, 2).reshape(batch, tokens, features))

    @staticmethod
    def turn(x, angle):
        """Turn the pairs (x₀, x₁), (x₂, x₃), …"""
        real, imag = x[..., 0::2], x[..., 1::2]
        cos, sin = angle.cos(), angle.sin()
        return torch.stack([real * cos - imag * sin, real * sin + imag * cos], -1).flatten(-2)


class FilterAttention(nn.Module):
    """Adaptive Filter Attention with the signature of its rotary twin."""

    def __init__(self, features, heads, **settings):
        super().__init__()
        self.layer = AdaptiveFilterAttention(features, heads, **settings)

    def forward(self, x, *, times=None):
        found, _ = self.layer(x, query_times=times)
        return found


class Block(nn.Module):
    """Attention, then a perceptron of every token, each added to what comes in."""

    def __init__(self, features, attention, *, normalised=True):
        super().__init__()
        self.before = nn.RMSNorm(features) if normalised else nn.Identity()
        self.attention = attention
        self.between = nn.RMSNorm(features)
        self.perceptron = nn.Sequential(
            nn.Linear(features, 4 * features),
            nn.GELU(approximate="tanh"),
            nn.Linear(4 * features, features),
        )

    def forward(self, x, *, times=None):
        x = x + self.attention(self.before(x), times=times)
        return x + self.perceptron(self.between(x))


class SequenceFilter(nn.Module):
    """Estimates of a state from all measurements up to its time, (batch, tokens, channels)."""

    def __init__(self, channels, features, blocks):
        super().__init__()
        self.embed = nn.Linear(channels, features)
        self.blocks = nn.ModuleList(blocks)
        self.read = nn.Linear(features, channels)
        nn.init.zeros_(self.read.weight)
        nn.init.zeros_(self.read.bias)

    def forward(self, measurements, times):
        x = self.embed(measurements)
        for block in self.blocks:
            x = block(x, times=times)
        return measurements + self.read(x)


class LanguageModel(nn.Module):
    """Logits of the next token, (batch, tokens, vocabulary), from tokens as integers."""

    def __init__(self, vocabulary, features, blocks):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, features)
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.RMSNorm(features)
        self.read = nn.Linear(features, vocabulary, bias=False)

    def forward(self, tokens):
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x)
        return self.read(self.norm(x))


def blocks(kind, features, heads, count, *, normalised=True, **settings):
    """Return blocks with attention of a kind, ``"filter"`` or ``"rotary"``."""
    make = partial({"filter": FilterAttention, "rotary": RotaryAttention}[kind], **settings)
    return [Block(features, make(features, heads), normalised=normalised) for _ in range(count)]
