"""Small models of series that differ in how they relate tokens in time, of equal size."""

import sys
from functools import partial
from pathlib import Path

import torch
from sequences import OBSERVED
from torch import nn

from afa_core.layer import Start

sys.path.append(str(Path(__file__).resolve().parents[1] / "examples"))

from models import Block, FilterAttention, RotaryAttention

FEATURES, HEADS, BLOCKS = 32, 4, 2
HIDDEN = 32
FREQUENCY, DECAY, GAIN = (0.05, 2.0), (1.0 / 64.0, 0.5), (1.0 / 64.0, 0.5)


def tensors(series):
    """Return tokens (b, n, 2) of values and whether they are observed, times, and the latter."""
    values, times = (torch.as_tensor(x, dtype=torch.float32) for x in (series.values, series.times))
    observed = torch.as_tensor(series.kind == OBSERVED)
    return torch.stack([values, observed.float()], dim=-1), times, observed


def spaced(least, greatest, count):
    """Return numbers between two, in equal ratios."""
    return least * (greatest / least) ** (torch.arange(count) / (count - 1))


def lags(times):
    """Return the lag from the token before each, of the series and of its reverse, (2, b, n)."""
    before = times.diff(dim=-1, prepend=times[:, :1])
    after = times.diff(dim=-1, append=times[:, -1:]).flip(-1)
    return torch.stack([before, after])


def both_ways(x):
    """Stack tokens and their reverse, (2, b, n, features)."""
    return torch.stack([x, x.flip(1)])


class TimedAttention(RotaryAttention):
    """Dot-product attention with rotary encodings of times, whose heads learn frequencies each."""

    def __init__(self, **options):
        super().__init__(FEATURES, HEADS, frequency=FREQUENCY, learned=True, **options)
        self.frequency = nn.Parameter(self.frequency.detach().repeat(HEADS, 1, 1))


class StateSpace(nn.Module):
    """Complex modes dx = λx dt between observed tokens, which are added to them, both ways."""

    def __init__(self, features, modes):
        super().__init__()
        self.raw_decay = nn.Parameter(spaced(*DECAY, modes).repeat(2, 1, 1).log())
        frequency = spaced(*FREQUENCY, modes)[torch.randperm(modes)]
        self.frequency = nn.Parameter(frequency.repeat(2, 1, 1))
        self.read = nn.Parameter(torch.randn(2, features, 2 * modes) / (2 * features) ** 0.5)
        self.write = nn.Linear(4 * modes, features)

    def forward(self, x, *, times, key_mask, causal):
        assert not causal
        decay = self.raw_decay.exp()
        unit = (1.0 - (-2.0 * decay).exp()).sqrt()
        factor = torch.exp(
            torch.complex(-decay, self.frequency)[:, :, None] * lags(times)[..., None]
        )
        read = both_ways(x * key_mask[..., None]) @ self.read[:, None]
        read = torch.view_as_complex(read.unflatten(-1, (-1, 2))) * unit[:, :, None]
        state, states = torch.zeros_like(read[:, :, 0]), []
        for decayed, added in zip(factor.unbind(2), read.unbind(2), strict=True):
            state = decayed * state + added
            states.append(state)
        forward, backward = torch.view_as_real(torch.stack(states, dim=2)).flatten(-2)
        return self.write(torch.cat([forward, backward.flip(1)], dim=-1))


class Recurrent(nn.Module):
    """Gated recurrent units both ways, with the lags to the tokens before and after as inputs."""

    def __init__(self):
        super().__init__()
        self.layer = nn.GRU(4, HIDDEN, BLOCKS, batch_first=True, bidirectional=True)
        self.output = nn.Linear(2 * HIDDEN, 1)

    def forward(self, tokens, times, observed):
        before, after = lags(times)
        gaps = torch.stack([before, after.flip(-1)], dim=-1)
        return self.output(self.layer(torch.cat([tokens, gaps], dim=-1))[0])[..., 0]


class DecayingRecurrent(nn.Module):
    """Gated recurrent units both ways, whose states decay between tokens."""

    def __init__(self):
        super().__init__()
        inputs = [3] + [2 * HIDDEN + 1] * (BLOCKS - 1)
        self.layers = nn.ModuleList(
            nn.ModuleList(nn.GRUCell(count, HIDDEN) for _ in range(2)) for count in inputs
        )
        self.raw_decay = nn.Parameter(spaced(*DECAY, HIDDEN).log().repeat(BLOCKS, 2, 1, 1))
        self.output = nn.Linear(2 * HIDDEN, 1)

    def forward(self, tokens, times, observed):
        x = tokens
        for cells, decay in zip(self.layers, self.raw_decay.exp(), strict=True):
            found = []
            for cell, rate, lag, inputs in zip(
                cells, decay, lags(times), both_ways(x), strict=True
            ):
                state, states = x.new_zeros(len(x), HIDDEN), []
                inputs = torch.cat([inputs, lag[..., None]], dim=-1)
                for factor, token in zip(
                    torch.exp(-rate * lag[..., None]).unbind(1), inputs.unbind(1), strict=True
                ):
                    state = cell(token, factor * state)
                    states.append(state)
                found.append(torch.stack(states, dim=1))
            x = torch.cat([found[0], found[1].flip(1)], dim=-1)
        return self.output(x)[..., 0]


class Encoder(nn.Module):
    """Blocks of tokens that mix what they know with that of observed tokens."""

    def __init__(self, mixing, *, time_features=0):
        super().__init__()
        self.frequency = nn.Parameter(spaced(*FREQUENCY, time_features)) if time_features else None
        self.embed = nn.Linear(2 + 2 * time_features, FEATURES)
        self.blocks = nn.ModuleList(Block(FEATURES, mixing()) for _ in range(BLOCKS))
        self.norm = nn.RMSNorm(FEATURES)
        self.output = nn.Linear(FEATURES, 1)

    def forward(self, tokens, times, observed):
        if self.frequency is not None:
            angle = times[..., None] * self.frequency
            tokens = torch.cat([tokens, angle.sin(), angle.cos()], dim=-1)
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x, times=times, key_mask=observed, causal=False)
        return self.output(self.norm(x))[..., 0]


class Timeless(RotaryAttention):
    """Dot-product attention without encodings of position."""

    def forward(self, x, *, times, **masks):
        return super().forward(x, times=torch.zeros_like(times), **masks)


filtering = partial(
    FilterAttention,
    FEATURES,
    HEADS,
    fixed=("dof", "inverse_temperature"),
    start=Start(frequency=FREQUENCY, decay=DECAY, gain=GAIN),
)
MIXING = {
    "state space": partial(StateSpace, FEATURES, FEATURES // 2),
    "rotary": TimedAttention,
    "rotary, value rotation": partial(TimedAttention, value_rotation=True),
    "times as features": partial(Timeless, FEATURES, HEADS),
    "afa": partial(filtering, value_rotation=False),
    "afa, value rotation": filtering,
    "afa, gaussian, value rotation": partial(filtering, weighting="gaussian"),
    "afa, correlated": partial(filtering, correlated=True, value_rotation=False),
    "afa, correlated, value rotation": partial(filtering, correlated=True),
}
RECURRENT = {"GRU": Recurrent, "GRU, decay": DecayingRecurrent}
CANDIDATES = (*RECURRENT, *MIXING)


def model_of(candidate):
    """Return a model from tokens (b, n, 2), times and which are observed to values (b, n)."""
    if candidate in RECURRENT:
        return RECURRENT[candidate]()
    features = 8 if candidate == "times as features" else 0
    return Encoder(MIXING[candidate], time_features=features)
