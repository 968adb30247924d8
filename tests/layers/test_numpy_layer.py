"""The layer on NumPy against the specification, and its files."""

import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import afa_numpy
from afa_core.layer import Layer, metadata

safetensors = pytest.importorskip("safetensors.numpy")


def test_specification(variant, make_layer, tokens, expected_output):
    layer, (x, times, _) = make_layer(variant), tokens
    found = layer(x, query_times=times).output
    np.testing.assert_allclose(found, expected_output(layer, x, times), rtol=1e-11, atol=1e-12)


def test_padding_has_no_effect(variant, make_layer, tokens, tokens_with_nan, expected_output):
    layer, (x, times, key_mask) = make_layer(variant), tokens_with_nan
    expected = expected_output(layer, *tokens)
    found = layer(x, query_times=times, key_mask=key_mask).output
    np.testing.assert_allclose(found[key_mask], expected[key_mask], rtol=1e-11, atol=1e-12)


def test_steps(variant, make_layer, tokens):
    layer, (x, times, _) = make_layer(variant), tokens
    parallel = layer(x, query_times=times, need_precision=True)
    cache = layer.empty_cache(x, times=times)
    for piece in (slice(0, 2), slice(2, 3), slice(3, 5)):
        found, cache = layer.step(x[:, piece], cache, time=times[:, piece], need_precision=True)
        np.testing.assert_allclose(found.output, parallel.output[:, piece], rtol=1e-11, atol=1e-12)
        axis = -2 if layer.settings.form == "diagonal" else -1
        for a, b in zip(
            np.atleast_1d(found.precision), np.atleast_1d(parallel.precision), strict=True
        ):
            b = b[..., piece, :] if axis == -2 else b[..., piece]
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "layer.safetensors"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_save_and_load(dtype, variant, make_layer, path, tokens):
    layer, x = make_layer(variant, dtype), tokens[0].astype(dtype)
    afa_numpy.save(path, {"": layer})
    loaded = afa_numpy.load(path)
    assert loaded.settings == layer.settings
    assert {name: each.dtype for name, each in loaded.parameters.items()} == {
        name: np.dtype(dtype) for name in layer.parameters
    }
    np.testing.assert_array_equal(loaded(x).output, layer(x).output)


def test_arrays_of_any_strides(make_layer, path):
    settings, parameters = make_layer("isotropic")
    weight = parameters["query_weight"]
    for strided in (np.asfortranarray(weight), weight[::-1, ::-1], np.repeat(weight, 2, 1)[:, ::2]):
        afa_numpy.save(path, {"": Layer(settings, {**parameters, "query_weight": strided})})
        np.testing.assert_array_equal(afa_numpy.load(path).parameters["query_weight"], strided)


def test_several_layers_and_other_arrays(make_layer, path):
    layers = {"blocks.0.": make_layer("isotropic"), "blocks.1.deep.": make_layer("diagonal")}
    others = {"blocks.0.norm.weight": np.arange(3.0), "step": np.asarray(7), "bias": np.zeros(0)}
    afa_numpy.save(path, layers, others)
    found, loaded_others = afa_numpy.load_layers(path)
    assert found.keys() == layers.keys()
    for prefix, each in layers.items():
        assert found[prefix].settings == each.settings
        for name, x in each.parameters.items():
            np.testing.assert_array_equal(found[prefix].parameters[name], x)
    assert {name: (x.shape, x.tolist()) for name, x in loaded_others.items()} == {
        name: (x.shape, x.tolist()) for name, x in others.items()
    }
    with pytest.raises(ValueError, match=r"one layer.*'blocks\.0\.', 'blocks\.1.*`load_layers`"):
        afa_numpy.load(path)


def test_bfloat16_is_read_exactly_as_float32(make_layer, path):
    dtype = pytest.importorskip("ml_dtypes").bfloat16
    settings, parameters = make_layer("isotropic", "float32")
    narrow = parameters["query_weight"].astype(dtype)
    afa_numpy.save(path, {"": Layer(settings, {**parameters, "query_weight": narrow})})
    found = afa_numpy.load(path).parameters["query_weight"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, narrow.astype(np.float32))


def write(path, layer, described=None, **changes):
    """Write a file of one layer with some arrays changed, or omitted if None."""
    arrays = {**layer.parameters, **changes}
    kept = {name: x for name, x in arrays.items() if x is not None}
    safetensors.save_file(kept, path, described or metadata({"": layer.settings}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"raw_decay": None}, r"`raw_decay` is missing, of shape \(2,\)"),
        ({"raw_decay": np.zeros(3)}, r"`raw_decay` must have shape \(2,\), got \(3,\)"),
        ({"raw_mass": np.zeros(2)}, "`raw_mass` is no parameter of a layer of form 'isotropic'"),
        ({"a.b": np.zeros(2)}, r"nothing but the layer, got also \['a\.b'\]"),
    ],
)
def test_wrong_arrays(changes, message, make_layer, path):
    write(path, make_layer("isotropic"), **changes)
    with pytest.raises(ValueError, match=message):
        afa_numpy.load(path)


def test_another_form(make_layer, path):
    layer = make_layer("isotropic")
    write(path, layer, metadata({"": layer.settings._replace(form="diagonal")}))
    with pytest.raises(ValueError, match=r"`raw_decay` must have shape \(2, 2\), got \(2,\)"):
        afa_numpy.load(path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("version", "2", r"of version '1' .* got '2'"),
        ("format", "pt", r"format 'afa-core layers', got 'pt'"),
        ("layers", "{", "settings of the layers cannot be read.*damaged"),
        ("layers", json.dumps({"": {"features": 6}}), "cannot be read.*'heads'"),
    ],
)
def test_wrong_metadata(key, value, message, make_layer, path):
    layer = make_layer("isotropic")
    write(path, layer, metadata({"": layer.settings}) | {key: value})
    with pytest.raises(ValueError, match=message):
        afa_numpy.load(path)


def test_file_of_another_format(path):
    path.write_bytes(b"no tensors at all, and longer than eight bytes")
    with pytest.raises(ValueError, match=r"safetensors format, got .*layer\.safetensors: "):
        afa_numpy.load(path)
    with pytest.raises(FileNotFoundError, match="missing"):
        afa_numpy.load(path.with_name("missing"))


@pytest.mark.parametrize(
    ("prefix", "others", "message"),
    [
        ("a.", {"a.frequency": 0}, r"`others` .* got \['a\.frequency'\]"),
        ("a.", {"a.more": 0}, "`a.more` is no parameter"),
        ("", {"more": 0}, "`more` is no parameter"),
        ("a", {}, "`layers` .* got 'a'"),
    ],
)
def test_arrays_that_could_not_be_loaded_are_not_saved(prefix, others, message, make_layer, path):
    with pytest.raises(ValueError, match=message):
        afa_numpy.save(path, {prefix: make_layer("isotropic")}, others)
    assert not path.exists()


def test_wrong_layer_is_not_saved(make_layer, path):
    layer = make_layer("isotropic")
    wrong = layer._replace(settings=layer.settings._replace(heads=1))
    with pytest.raises(ValueError, match=r"`query_weight` must have shape \(4, 6\), got \(8, 6\)"):
        afa_numpy.save(path, {"": wrong})
    assert not path.exists()


def test_interrupted_save_keeps_the_old_file(make_layer, path, monkeypatch):
    layer = make_layer("isotropic")
    afa_numpy.save(path, {"": layer})
    before = path.read_bytes()

    def disk_full(arrays, path, described):
        Path(path).write_bytes(before[:100])
        raise OSError("no space left")

    monkeypatch.setattr(safetensors, "save_file", disk_full)
    with pytest.raises(OSError, match="no space left"):
        afa_numpy.save(path, {"": make_layer("diagonal")})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_without_safetensors(make_layer, path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    for call in (
        lambda: afa_numpy.save(path, {"": make_layer("isotropic")}),
        lambda: afa_numpy.load(path),
    ):
        with pytest.raises(ImportError, match=r"afa-core\[layers\]"):
            call()


def test_cupy_reads_and_writes_the_same_file(make_layer, path, monkeypatch, tokens):
    """CuPy runs on GPUs only: NumPy takes its place, and records the conversions."""
    import afa_cupy

    conversions = []
    stand_in = types.SimpleNamespace(
        asarray=lambda x: conversions.append("to the device") or np.asarray(x),
        asnumpy=lambda x: conversions.append("back") or np.asarray(x),
    )
    monkeypatch.setitem(sys.modules, "cupy", stand_in)
    layer = make_layer("isotropic")
    afa_cupy.save(path, {"": layer})
    loaded = afa_cupy.load(path)
    np.testing.assert_array_equal(loaded(tokens[0]).output, layer(tokens[0]).output)
    count = len(layer.parameters)
    assert conversions == ["back"] * count + ["to the device"] * count
