"""NumPy's layer says what the specification does, and files give back what was put into them."""

import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import afa_numpy
from afa_core.layer import Layer, metadata

safetensors = pytest.importorskip("safetensors.numpy")


def test_specification(variant, made, tokens, expected):
    layer, (x, times, _) = made(variant), tokens
    found = layer(x, query_times=times).output
    np.testing.assert_allclose(found, expected(layer, x, times), rtol=1e-11, atol=1e-12)


def test_padding_leaves_no_trace(variant, made, tokens, expected):
    layer, (x, times, real) = made(variant), tokens
    want = expected(layer, x, times, real)
    x, times = np.where(real[..., None], x, np.nan), np.where(real, times, np.nan)
    found = layer(x, query_times=times, key_mask=real).output
    np.testing.assert_allclose(found[real], want[real], rtol=1e-11, atol=1e-12)


def test_steps(variant, made, tokens):
    layer, (x, times, _) = made(variant), tokens
    whole = layer(x, query_times=times, need_precision=True)
    cache = layer.empty_cache(x, times=times)
    for piece in (slice(0, 2), slice(2, 3), slice(3, 5)):
        found, cache = layer.step(x[:, piece], cache, time=times[:, piece], need_precision=True)
        np.testing.assert_allclose(found.output, whole.output[:, piece], rtol=1e-11, atol=1e-12)
        axis = -2 if layer.settings.form == "diagonal" else -1
        for a, b in zip(
            np.atleast_1d(found.precision), np.atleast_1d(whole.precision), strict=True
        ):
            b = b[..., piece, :] if axis == -2 else b[..., piece]
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


# Files


@pytest.fixture
def path(tmp_path):
    return tmp_path / "layer.safetensors"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_there_and_back(dtype, variant, made, path, tokens):
    layer, x = made(variant, dtype), tokens[0].astype(dtype)
    afa_numpy.save(path, {"": layer})
    again = afa_numpy.load(path)
    assert again.settings == layer.settings
    assert {name: each.dtype for name, each in again.parameters.items()} == {
        name: np.dtype(dtype) for name in layer.parameters
    }
    np.testing.assert_array_equal(again(x).output, layer(x).output)


def test_arrays_that_lie_otherwise_in_memory(made, path):
    settings, parameters = made("isotropic")
    weight = parameters["query_weight"]
    for turned in (np.asfortranarray(weight), weight[::-1, ::-1], np.repeat(weight, 2, 1)[:, ::2]):
        afa_numpy.save(path, {"": Layer(settings, {**parameters, "query_weight": turned})})
        np.testing.assert_array_equal(afa_numpy.load(path).parameters["query_weight"], turned)


def test_several_layers_and_other_arrays(made, path):
    layers = {"blocks.0.": made("isotropic"), "blocks.1.deep.": made("diagonal")}
    others = {"blocks.0.norm.weight": np.arange(3.0), "step": np.asarray(7), "bias": np.zeros(0)}
    afa_numpy.save(path, layers, others)
    found, rest = afa_numpy.load_layers(path)
    assert found.keys() == layers.keys()
    for prefix, each in layers.items():
        assert found[prefix].settings == each.settings
        for name, x in each.parameters.items():
            np.testing.assert_array_equal(found[prefix].parameters[name], x)
    assert {name: (x.shape, x.tolist()) for name, x in rest.items()} == {
        name: (x.shape, x.tolist()) for name, x in others.items()
    }
    with pytest.raises(ValueError, match=r"one layer.*'blocks\.0\.', 'blocks\.1.*`load_layers`"):
        afa_numpy.load(path)


def test_bfloat16_is_read_as_the_same_numbers(made, path):
    dtype = pytest.importorskip("ml_dtypes").bfloat16
    settings, parameters = made("isotropic", "float32")
    narrow = parameters["query_weight"].astype(dtype)
    afa_numpy.save(path, {"": Layer(settings, {**parameters, "query_weight": narrow})})
    found = afa_numpy.load(path).parameters["query_weight"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, narrow.astype(np.float32))


def written(path, layer, described=None, **changes):
    """Write a file of one layer with some arrays changed or, where None, left out."""
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
def test_wrong_arrays(changes, message, made, path):
    written(path, made("isotropic"), **changes)
    with pytest.raises(ValueError, match=message):
        afa_numpy.load(path)


def test_another_form(made, path):
    layer = made("isotropic")
    written(path, layer, metadata({"": layer.settings._replace(form="diagonal")}))
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
def test_wrong_metadata(key, value, message, made, path):
    layer = made("isotropic")
    written(path, layer, metadata({"": layer.settings}) | {key: value})
    with pytest.raises(ValueError, match=message):
        afa_numpy.load(path)


def test_file_of_another_kind(path):
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
def test_what_would_not_come_back_is_not_saved(prefix, others, message, made, path):
    with pytest.raises(ValueError, match=message):
        afa_numpy.save(path, {prefix: made("isotropic")}, others)
    assert not path.exists()


def test_wrong_layer_is_not_saved(made, path):
    layer = made("isotropic")
    wrong = layer._replace(settings=layer.settings._replace(heads=1))
    with pytest.raises(ValueError, match=r"`query_weight` must have shape \(4, 6\), got \(8, 6\)"):
        afa_numpy.save(path, {"": wrong})
    assert not path.exists()


def test_interrupted_save_leaves_the_old_file(made, path, monkeypatch):
    layer = made("isotropic")
    afa_numpy.save(path, {"": layer})
    before = path.read_bytes()

    def full(arrays, to, described):
        Path(to).write_bytes(before[:100])
        raise OSError("no space left")

    monkeypatch.setattr(safetensors, "save_file", full)
    with pytest.raises(OSError, match="no space left"):
        afa_numpy.save(path, {"": made("diagonal")})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_without_safetensors(made, path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    for use in (
        lambda: afa_numpy.save(path, {"": made("isotropic")}),
        lambda: afa_numpy.load(path),
    ):
        with pytest.raises(ImportError, match=r"afa-core\[layers\]"):
            use()


def test_cupy_reads_and_writes_the_same_file(made, path, monkeypatch, tokens):
    """CuPy runs on GPUs only: NumPy stands in, and says where it was asked."""
    import afa_cupy

    asked = []
    stand_in = types.SimpleNamespace(
        asarray=lambda x: asked.append("to the device") or np.asarray(x),
        asnumpy=lambda x: asked.append("back") or np.asarray(x),
    )
    monkeypatch.setitem(sys.modules, "cupy", stand_in)
    layer = made("isotropic")
    afa_cupy.save(path, {"": layer})
    again = afa_cupy.load(path)
    np.testing.assert_array_equal(again(tokens[0]).output, layer(tokens[0]).output)
    assert asked == ["back"] * len(layer.parameters) + ["to the device"] * len(layer.parameters)
