"""A layer trained in one library has the same outputs in all others, from one file."""

import numpy as np
import pytest

import afa_jax
import afa_numpy
from afa_core.layer import Layer

TOLERANCES = {"float32": 1e-5, "float64": 1e-12}


@pytest.fixture
def path(tmp_path):
    pytest.importorskip("safetensors")
    return tmp_path / "layer.safetensors"


def in_torch(path, x, times):
    import torch

    from afa_torch import load

    with torch.no_grad():
        return load(path)(torch.asarray(x), query_times=torch.asarray(times))[0].numpy()


def in_numpy(path, x, times):
    return afa_numpy.load(path)(x, query_times=times).output


def in_jax(path, x, times):
    """Equinox and Flax in one program, which is compiled once."""
    jax = pytest.importorskip("jax")
    nnx = pytest.importorskip("flax.nnx")
    from afa_jax.equinox_layer import AdaptiveFilterAttention as Equinox
    from afa_jax.flax_layer import AdaptiveFilterAttention as Flax

    layer = afa_jax.load(path)
    graph, state = nnx.split(Flax.from_layer(layer))

    @jax.jit
    def run(equinox, state, *arrays):
        both = equinox, nnx.merge(graph, state)
        return tuple(each(arrays[0], query_times=arrays[1])[0] for each in both)

    return run(Equinox.from_layer(layer), state, x, times)


def in_onnxruntime(path, x, times):
    pytest.importorskip("ndonnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from afa_numpy.onnx import export, padded

    model = export(afa_numpy.load(path), x.shape[1], batch=x.shape[0])
    inputs = padded(x, times, x.shape[1])
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, inputs)[0]


def train_in_torch(layer, x, path):
    import torch

    from afa_torch import AdaptiveFilterAttention, save

    parameters = {name: torch.asarray(each) for name, each in layer.parameters.items()}
    module = AdaptiveFilterAttention.from_layer(Layer(layer.settings, parameters))
    x = torch.asarray(x)
    optimiser, losses = torch.optim.Adam(module.parameters(), lr=1e-2), []
    for _ in range(5):
        loss = (module(x)[0] - x).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    save(path, module)
    return losses


def train_in_equinox(layer, x, path):
    jax = pytest.importorskip("jax")
    equinox = pytest.importorskip("equinox")
    optax = pytest.importorskip("optax")
    from afa_jax.equinox_layer import AdaptiveFilterAttention

    parameters = {name: jax.numpy.asarray(each) for name, each in layer.parameters.items()}
    module = AdaptiveFilterAttention.from_layer(Layer(layer.settings, parameters))
    optimiser, losses, x = optax.adam(1e-2), [], jax.numpy.asarray(x)
    state = optimiser.init(module)

    @jax.jit
    def step(module, state):
        loss, gradient = equinox.filter_value_and_grad(
            lambda module: ((module(x)[0] - x) ** 2).mean()
        )(module)
        updates, state = optimiser.update(gradient, state)
        return equinox.apply_updates(module, updates), state, loss

    for _ in range(5):
        module, state, loss = step(module, state)
        losses.append(float(loss))
    afa_jax.save(path, {"": module.layer})
    return losses


def check_trained(layer, path, losses):
    """Check that training has changed all parameters but the fixed ones."""
    assert losses[-1] < losses[0]
    for name, x in afa_numpy.load(path).parameters.items():
        assert x.dtype == layer.parameters[name].dtype
        fixed = name.removeprefix("raw_") in layer.settings.fixed
        assert np.array_equal(x, layer.parameters[name]) == fixed, name


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_from_torch(dtype, variant, make_layer, tokens, path, host):
    host("torch")
    host("jax")
    layer, (x, times) = make_layer(variant, dtype), (each.astype(dtype) for each in tokens[:2])
    check_trained(layer, path, train_in_torch(layer, x, path))
    expected, tolerance = in_torch(path, x, times), TOLERANCES[dtype]
    assert expected.dtype == dtype
    others = {"numpy": in_numpy(path, x, times)}
    others["equinox"], others["flax"] = in_jax(path, x, times)
    if dtype == "float32":
        others["onnxruntime"] = in_onnxruntime(path, x, times)
    for name, found in others.items():
        assert found.dtype == dtype, name
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("variant", ["isotropic", "radial-tangential"])
def test_from_equinox(variant, make_layer, tokens, path, host):
    host("torch")
    host("jax")
    layer, (x, times) = make_layer(variant), tokens[:2]
    check_trained(layer, path, train_in_equinox(layer, x, path))
    expected = in_numpy(path, x, times)
    np.testing.assert_allclose(in_torch(path, x, times), expected, rtol=1e-12, atol=1e-12)
