"""A layer of NumPy of as many channels as all heads of a setting have, and its tokens."""

from __future__ import annotations

from typing import Any

import numpy as np

from afa_bench.candidates import Task
from afa_bench.setting import Setting
from afa_core.layer import Layer, Settings, initial


def drawn_layer(setting: Setting) -> Layer:
    """Return a layer with parameters as before training."""
    features = 2 * setting.modes * setting.heads
    settings = Settings(features, setting.heads, setting.modes, value_modes=setting.modes)
    rng, found = np.random.default_rng(0), {}
    for name, each in initial(settings).items():
        values = each.values or each.deviation * rng.standard_normal(each.shape)
        found[name] = np.reshape(np.asarray(values, dtype=setting.dtype), each.shape)
    return Layer(settings, found)


def layer_tokens(task: Task) -> Any:
    """Return the queries of all heads as tokens, (batch, n, features)."""
    swapped: Any = np.swapaxes(task.inputs.query, 1, 2)
    return np.reshape(swapped, (*swapped.shape[:2], -1))
