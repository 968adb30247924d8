"""Export a layer from a file to ONNX, by tracing the array-API core without a framework.

    python export_onnx.py layer.safetensors layer.onnx --tokens 128 --step 1

With `--step`, the time from each token to the next, the model takes no times.
"""

import argparse

import onnx

from afa_numpy import load
from afa_numpy.onnx import export

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("layer")
    parser.add_argument("model")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--step", type=float, help="time between tokens, if it is always the same")
    options = parser.parse_args()
    model = export(load(options.layer), options.tokens, batch=options.batch, step=options.step)
    onnx.save(model, options.model)
    print(f"{options.model}: {len(model.graph.node)} nodes")
