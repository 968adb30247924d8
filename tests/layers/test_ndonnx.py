"""ONNX models traced by ndonnx from the core have the results of the layer."""

import warnings

import numpy as np
import pytest

import afa_core as afa
from afa_core.layer import Layer

ndonnx = pytest.importorskip("ndonnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")
from afa_numpy.onnx import export, padded  # noqa: E402


def run(model, inputs):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    names = {each.name for each in session.get_inputs()}
    (output,) = session.run(None, {name: x for name, x in inputs.items() if name in names})
    return output


def test_one_model_for_sequences_up_to_its_length(make_layer, tokens):
    """Padding has no effect."""
    layer = make_layer("radial-tangential", "float32")
    x, times = (each.astype("float32") for each in tokens[:2])
    model = export(layer, 7, batch=2)
    for length in (5, 2):
        x, times = x[:, :length], times[:, :length]
        inputs = padded(x, times, 7)
        inputs["tokens"][:, length:] = np.nan
        found = run(model, inputs)[:, :length]
        assert found.dtype == np.float32
        expected = layer(x, query_times=times).output
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("isotropic", {}),
        ("sphere", {"causal": False}),
        ("diagonal", {}),
        ("isotropic", {"tile": 3}),
    ],
)
def test_regular_times(make_layer, tokens, name, options):
    """A model for tokens at equal distances takes no times, and padding has no effect."""
    layer, x = make_layer(name, "float32"), tokens[0].astype("float32")
    model = export(layer, 5, batch=2, step=0.3, **options)
    inputs = padded(x[:, :4], None, 5)
    assert {each.name for each in model.graph.input} == set(inputs)
    inputs["tokens"][:, 4:] = np.nan
    times = np.broadcast_to(0.3 * np.arange(4, dtype="float32"), (2, 4))
    causal = options.get("causal", True)
    expected = layer(x[:, :4], query_times=times, causal=causal).output
    np.testing.assert_allclose(run(model, inputs)[:, :4], expected, rtol=1e-5, atol=1e-5)
    if name == "isotropic" and not options:
        # what depends on lags and parameters alone is constant
        kinds = [node.op_type for node in model.graph.node]
        assert not {"Sin", "Cos"} & set(kinds)
        assert (kinds.count("Log"), kinds.count("Exp")) == (1, 2)  # one of pairs, one of peaks
        assert len(kinds) < 200


def test_both_directions_in_double_precision(make_layer, tokens):
    """Sines and cosines are in single precision, the only one that ONNX Runtime has."""
    layer, (x, times, key_mask) = make_layer("isotropic"), tokens
    model = export(layer, 5, batch=2, causal=False)
    found = run(model, {"tokens": x, "times": times, "key_mask": key_mask})
    expected = layer(x, query_times=times, key_mask=key_mask, causal=False).output
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_small_decays_and_long_times(make_layer, tokens):
    """Of times since 1970 the differences matter, and decays of 10⁻⁷ are not rounded to zero."""
    settings, parameters = make_layer("isotropic", "float32")
    slow = {"raw_decay": np.full_like(parameters["raw_decay"], np.log(1e-7))}
    still = {"frequency": np.zeros_like(parameters["frequency"])}
    layer = Layer(settings, {**parameters, **slow, **still})
    x, times = tokens[0].astype("float32"), 1.7e9 + 1e6 * tokens[1]
    found = run(export(layer, 5, batch=2), padded(x, times, 5))
    expected = layer(x, query_times=times).output
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="`x` must have at most 3 tokens, got 5"):
        padded(x, times, 3)
    with pytest.raises(ValueError, match="`step` must be finite and > 0"):
        export(layer, 5, step=0.0)


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
