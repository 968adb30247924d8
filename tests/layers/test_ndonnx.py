"""ONNX models traced by ndonnx from the core have the results of the layer."""

import runpy
import warnings
from pathlib import Path

import numpy as np
import pytest

import afa_core as afa
from afa_core.layer import Layer

ndonnx = pytest.importorskip("ndonnx")
onnxruntime = pytest.importorskip("onnxruntime")

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "export_onnx.py"


@pytest.fixture(scope="module")
def example():
    return runpy.run_path(str(EXAMPLE))


def run(model, inputs):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    names = {each.name for each in session.get_inputs()}
    (output,) = session.run(None, {name: x for name, x in inputs.items() if name in names})
    return output


def test_one_model_for_sequences_up_to_its_length(make_layer, tokens, example):
    """Padding has no effect."""
    layer = make_layer("radial-tangential", "float32")
    x, times = (each.astype("float32") for each in tokens[:2])
    model = example["export"](layer, 7, batch=2)
    for length in (5, 2):
        x, times = x[:, :length], times[:, :length]
        inputs = example["padded"](x, times, 7)
        inputs["tokens"][:, length:] = np.nan
        found = run(model, inputs)[:, :length]
        assert found.dtype == np.float32
        expected = layer(x, query_times=times).output
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_both_directions_in_double_precision(make_layer, tokens, example):
    """Sines and cosines are in single precision, the only one that ONNX Runtime has."""
    layer, (x, times, key_mask) = make_layer("isotropic"), tokens
    model = example["export"](layer, 5, batch=2, causal=False)
    found = run(model, {"tokens": x, "times": times, "key_mask": key_mask})
    expected = layer(x, query_times=times, key_mask=key_mask, causal=False).output
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_attention_without_a_layer(tokens):
    x = tokens[0].astype("float32")
    noise = afa.Noise(0.5, 1.0, 0.7)

    def call(x, frequency):
        return afa.attention(x, x, x, afa.IsotropicSDE(0.2, frequency, noise))

    frequency = np.asarray([0.1, 0.5, 2.0], "float32")
    argument = ndonnx.argument(shape=x.shape, dtype=ndonnx.float32)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="'(sin|cos)' is not implemented")
        model = ndonnx.build({"x": argument}, {"y": call(argument, ndonnx.asarray(frequency))})
    np.testing.assert_allclose(run(model, {"x": x}), call(x, frequency), rtol=1e-5, atol=1e-5)


def test_length_must_be_known(make_layer):
    settings, parameters = make_layer("isotropic", "float32")
    layer = Layer(settings, {name: ndonnx.asarray(x) for name, x in parameters.items()})
    tokens = ndonnx.argument(shape=("batch", "n", 6), dtype=ndonnx.float32)
    with pytest.raises(ValueError, match=r"`query` .* known shape, got \(None, None, 6\).* mask"):
        layer(tokens)
