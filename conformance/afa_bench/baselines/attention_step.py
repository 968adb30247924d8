"""A token of a layer of dot-product attention in NumPy, written by hand, with a cache of keys."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from afa_bench.candidates import Baseline, Call, Task
from afa_bench.setting import LAYER_STEP, Setting


class Layer(NamedTuple):
    """Projections (features, features), keys and values (heads, slots, 2d), frequencies (d)."""

    weights: Any  # of query, key, value and output
    key: Any
    value: Any
    frequency: Any


def rotate(x: Any, angle: Any) -> Any:
    """Return halves (heads, 2d) rotated by angles (d)."""
    cosine, sine = np.cos(angle), np.sin(angle)
    a, b = np.split(x, 2, axis=-1)
    return np.concatenate([a * cosine - b * sine, a * sine + b * cosine], axis=-1)


def step(layer: Layer, token: Any, place: int) -> Any:
    """Return the output of a token (1, features), whose key and value are put at a place."""
    heads, _, width = layer.key.shape
    query, key, value = (np.reshape(token @ w, (heads, width)) for w in layer.weights[:3])
    angle = layer.frequency * place
    layer.key[:, place] = rotate(key, angle)
    layer.value[:, place] = value
    keys, values = layer.key[:, : place + 1], layer.value[:, : place + 1]
    logits = (keys @ rotate(query, angle)[:, :, None])[..., 0] / np.sqrt(width)
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return np.reshape(weights[:, None] @ values, (1, -1)) @ layer.weights[3]


def _prepare(task: Task) -> Call:
    query, key, value = (x[0] for x in task.inputs[:3])
    heads, count, width = key.shape
    rng, features = np.random.default_rng(0), heads * width
    weights = rng.standard_normal((4, features, features)).astype(key.dtype) / np.sqrt(features)
    layer = Layer(weights, key.copy(), value.copy(), np.asarray(task.inputs.sde.frequency))
    token = np.reshape(query[:, -1], (1, features))
    return lambda: step(layer, token, count - 1)


def _unsupported(setting: Setting) -> str:
    return "" if setting.case == LAYER_STEP else "is a step of a layer only"


STEP = Baseline(
    "attention-step",
    "a token of a layer of rotary dot-product attention, written by hand",
    _unsupported,
    _prepare,
)
