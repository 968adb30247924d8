"""Small causal models of bytes that differ in attention alone: those of the examples."""

import math
import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

sys.path.append(str(Path(__file__).resolve().parents[1] / "examples"))

from models import Block, FilterAttention, LanguageModel, projections

FEATURES, HEADS, BLOCKS = 128, 4, 3
WINDOW = 128
CHUNK = 256  # queries whose biases are in memory at once

FILTER = {
    "bias": False,
    "value_rotation": False,
    "fixed": ("frequency", "dof"),
    "normalised": ("query", "key"),
}
CANDIDATES = {
    "none": {"rotary": False},
    "rotary": {},
    "rotary, window": {"window": WINDOW},
    "alibi": {"rotary": False, "alibi": True},
    "alibi, rotary": {"alibi": True},
    "alibi, rotary, trained slopes": {"alibi": True, "trained": True},
    "afa": FILTER,
    "afa, gaussian": FILTER | {"weighting": "gaussian"},
    "afa, correlated": FILTER | {"correlated": True},
    "afa, correlated, value rotation": FILTER | {"correlated": True, "value_rotation": True},
    "afa, correlated, coupled damping": FILTER
    | {"correlated": True, "value_rotation": True, "form": "diagonal", "damping": "coupled"},
    "afa, radial–tangential": FILTER | {"form": "radial_tangential"},
}
"""Options of attention. Queries and keys are normalised in all of them, with a gain per mode.

Gains are vectors, so that the weight decay leaves them out, as it does those of filters.
"""


class DotProductAttention(nn.Module):
    """Causal dot-product attention with normalised queries and keys, and encodings of position."""

    def __init__(self, *, rotary=True, alibi=False, trained=False, window=None):
        super().__init__()
        self.rotary, self.alibi, self.trained, self.window = rotary, alibi, trained, window
        modes = FEATURES // HEADS // 2
        self.project = projections(FEATURES, 3, bias=False)
        self.output = projections(FEATURES, bias=False)
        self.query_gain, self.key_gain = (nn.Parameter(torch.ones(HEADS * modes)) for _ in "qk")
        self.register_buffer("frequency", 1e-4 ** (torch.arange(modes) / (modes - 1)))
        self.register_buffer("slope", 2.0 ** (-8.0 * torch.arange(1, HEADS + 1) / HEADS))
        if trained:
            self.log_scale = nn.Parameter(torch.zeros(HEADS))

    def forward(self, x, *, times=None):
        assert times is None, "positions are places in the sequence"
        query, key, value = self.project(x).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        place = torch.arange(x.shape[1], device=x.device, dtype=x.dtype)
        query = self.encode(query, self.query_gain, place)
        key = self.encode(key, self.key_gain, place)
        attended = self.attend(query, key, value, place)
        return self.output(attended.transpose(1, 2).flatten(-2))

    def attend(self, query, key, value, place):
        """Attend to all keys up to a query, or to those of the window."""
        if not self.alibi and self.window is None:
            return functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        chunks = []
        for start in range(0, len(place), CHUNK):
            stop = start + CHUNK
            first = max(0, start + 1 - self.window) if self.window else 0
            rows, seen = slice(start, stop), slice(first, stop)
            bias = self.bias(place[rows, None] - place[seen])
            chunk = query[..., rows, :], key[..., seen, :], value[..., seen, :]
            chunks.append(functional.scaled_dot_product_attention(*chunk, attn_mask=bias))
        return torch.cat(chunks, dim=-2)

    def encode(self, x, gain, place):
        """Normalise complex modes over a head, and rotate them by the angle of each place."""
        z = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
        z = (
            z
            * gain.unflatten(0, (HEADS, 1, -1))
            / (z.abs().square().mean(-1, keepdim=True) + 1e-6).sqrt()
        )
        if self.rotary:
            angle = place[:, None] * self.frequency
            z = z * torch.polar(torch.ones_like(angle), angle)
        return torch.view_as_real(z).flatten(-2)

    def bias(self, lag):
        """Return what is added to the logits of keys a lag before their query, (heads, n, m)."""
        hidden = (lag < 0) | (lag >= (self.window or math.inf))
        slope = self.slope[:, None, None] if self.alibi else torch.zeros_like(lag)
        if self.trained:
            slope = slope * self.log_scale.exp()[:, None, None]
        return (-slope * lag).masked_fill(hidden, -math.inf)


def model_of(candidate):
    """Return a model of bytes, from (batch, n) to logits (batch, n, 256)."""

    def attention():
        options = CANDIDATES[candidate]
        if candidate.startswith("afa"):
            return FilterAttention(FEATURES, HEADS, **options)
        return DotProductAttention(**options)

    return LanguageModel(256, FEATURES, [Block(FEATURES, attention()) for _ in range(BLOCKS)])


def restored(candidate, path):
    """Return a trained model, from its checkpoint."""
    model = model_of(candidate)
    model.load_state_dict(torch.load(path, weights_only=True)["model"])
    return model.eval()


def dynamics(model):
    """Return decays and noises of the heads of every block."""
    layers = [x.layer for x in model.modules() if isinstance(x, FilterAttention)]
    raw = [(n, x) for each in layers for n, x in each.named_parameters() if n.startswith("raw_")]
    found = {}
    for name, x in raw:
        values = [float(f"{y:.4g}") for y in functional.softplus(x).flatten()]
        found.setdefault(name.removeprefix("raw_"), []).append(values)
    return found
