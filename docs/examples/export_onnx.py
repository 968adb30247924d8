"""Export a layer from a file to ONNX, by tracing the array-API core without a framework.

    python export_onnx.py layer.safetensors layer.onnx --tokens 128

The model takes `tokens` (batch, n, features), `times` (batch, n) and `key_mask` (batch, n), True
for tokens and False for padding, all of fixed sizes. Pad shorter sequences, and truncate outputs.
"""

import argparse
import warnings

import ndonnx as ndx
import numpy as np
import onnx

from afa_core.layer import Layer
from afa_numpy import load


def export(layer, tokens, *, batch=1, causal=True):
    """Return the ONNX model of a NumPy layer for sequences of at most `tokens` tokens."""
    constants = {name: ndx.asarray(np.asarray(x)) for name, x in layer.parameters.items()}
    dtype = constants["query_weight"].dtype
    inputs = {
        "tokens": ndx.argument(shape=(batch, tokens, layer.settings.features), dtype=dtype),
        "times": ndx.argument(shape=(batch, tokens), dtype=dtype),
        "key_mask": ndx.argument(shape=(batch, tokens), dtype=ndx.bool),
    }
    with warnings.catch_warnings():
        # ONNX Runtime has sine and cosine in single precision only.
        warnings.filterwarnings("ignore", message=r"'(sin|cos)' is not implemented for 'float64'")
        attended = Layer(layer.settings, constants)(
            inputs["tokens"],
            query_times=inputs["times"],
            key_mask=inputs["key_mask"],
            causal=causal,
            implementation="reference",
        )
    return ndx.build(inputs, {"output": attended.output})


def padded(x, times, tokens):
    """Return the inputs of a model for `tokens` tokens from x (batch, n, features), padded."""
    missing = tokens - x.shape[1]
    return {
        "tokens": np.pad(x, [(0, 0), (0, missing), (0, 0)]),
        "times": np.pad(times, [(0, 0), (0, missing)]),
        "key_mask": np.pad(np.ones(times.shape, bool), [(0, 0), (0, missing)]),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("layer")
    parser.add_argument("model")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--batch", type=int, default=1)
    options = parser.parse_args()
    model = export(load(options.layer), options.tokens, batch=options.batch)
    onnx.save(model, options.model)
    print(f"{options.model}: {len(model.graph.node)} nodes")
