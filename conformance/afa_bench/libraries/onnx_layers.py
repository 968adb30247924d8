"""Layers as ONNX models in ONNX Runtime: one of this library, and rotary attention beside it."""

from __future__ import annotations

from typing import Any

import ndonnx as ndx
import numpy as np
import onnxruntime

from afa_bench.candidates import Call, Task
from afa_bench.layers import drawn_layer, layer_tokens
from afa_bench.setting import Setting
from afa_numpy.onnx import export, padded, simplified

HIDDEN = -1e30
"""Logit of a hidden pair."""


def filter_attention(task: Task) -> Call:
    """Prepare a call of the layer of this library; its model takes times if they are irregular."""
    setting = task.setting
    step = None if setting.irregular else 1.0
    model = export(drawn_layer(setting), setting.tokens, batch=setting.batch, step=step)
    return _session(model, task)


def dot_product_attention(task: Task) -> Call:
    """Prepare a call of a causal layer of dot-product attention with rotary encodings."""
    setting = task.setting
    weights = drawn_layer(setting).parameters
    names = ("query", "key", "value", "output")
    model = rotary_layer(
        [np.asarray(weights[f"{name}_weight"]).T for name in names],
        np.asarray(task.inputs.sde.frequency),
        setting,
    )
    return _session(model, task)


def rotary_layer(weights: list[Any], frequency: Any, setting: Setting) -> Any:
    """Return the model of a layer: projections (features, features), frequencies (modes,)."""
    batch, n, heads, modes = setting.batch, setting.tokens, setting.heads, setting.modes
    width, dtype = 2 * modes, weights[0].dtype
    constants = [ndx.asarray(np.ascontiguousarray(w)) for w in weights]
    angle = np.arange(n)[:, None] * frequency
    cosine, sine = (ndx.asarray(f(angle).astype(dtype)) for f in (np.cos, np.sin))
    x = ndx.argument(shape=(batch, n, heads * width), dtype=constants[0].dtype)
    key_mask = ndx.argument(shape=(batch, n), dtype=ndx.bool)

    def projected(w: Any) -> Any:
        y = ndx.reshape(ndx.matmul(x, w), (batch, n, heads, width))
        return ndx.permute_dims(y, (0, 2, 1, 3))

    def rotated(y: Any) -> Any:
        a, b = y[..., :modes], y[..., modes:]
        return ndx.concat([a * cosine - b * sine, a * sine + b * cosine], axis=-1)

    query, key, value = (projected(w) for w in constants[:3])
    query = rotated(query) * ndx.asarray(dtype.type(width**-0.5))
    logits = ndx.matmul(query, ndx.matrix_transpose(rotated(key)))
    causal = ndx.asarray(np.tri(n, dtype=bool))
    visible = ndx.logical_and(causal, key_mask[:, None, None, :])
    logits = ndx.where(visible, logits, ndx.asarray(dtype.type(HIDDEN)))
    weight = ndx.exp(logits - ndx.max(logits, axis=-1, keepdims=True))
    weight = weight / ndx.sum(weight, axis=-1, keepdims=True)
    mean = ndx.permute_dims(ndx.matmul(weight, value), (0, 2, 1, 3))
    output = ndx.matmul(ndx.reshape(mean, (batch, n, heads * width)), constants[3])
    return simplified(ndx.build({"tokens": x, "key_mask": key_mask}, {"output": output}))


def _session(model: Any, task: Task) -> Call:
    """Return a call of a model on tokens of which none is padding."""
    setting, options = task.setting, onnxruntime.SessionOptions()
    options.intra_op_num_threads = setting.threads
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    tokens = layer_tokens(task)
    times = task.inputs.query_times
    inputs = padded(tokens, None if times is None else times[:, 0], setting.tokens)
    given = {each.name: inputs[each.name] for each in session.get_inputs()}
    return lambda: session.run(None, given)[0]
