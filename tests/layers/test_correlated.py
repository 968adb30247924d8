"""Layers with correlated keys: in every library, trained, decoded, exported; and their start."""

from importlib import import_module

import numpy as np
import pytest

import afa_core as afa
import afa_numpy
from afa_core import kalman
from afa_core.layer import Layer, Settings, Start, attend, empty_cache, initial, step


@pytest.fixture
def layer(variant, make_layer):
    """A layer of each variant with correlated keys, over NumPy arrays."""
    return make_layer(variant, correlated=True)


def test_output_is_that_of_the_double_sum(layer, tokens, expected_output):
    x, times, key_mask = tokens
    found = attend(layer.parameters, layer.settings, x, query_times=times, key_mask=key_mask)
    expected = expected_output(layer, x, times, key_mask)
    np.testing.assert_allclose(found.output[key_mask], expected[key_mask], rtol=1e-10, atol=1e-11)


def test_steps_are_the_last_rows(layer, tokens):
    x, times, key_mask = tokens
    whole = attend(layer.parameters, layer.settings, x, query_times=times, key_mask=key_mask)
    cache = empty_cache(layer.parameters, layer.settings, x, times=times, mask=key_mask)
    for piece in (slice(0, 2), slice(2, 3), slice(3, 5)):
        arguments = {"time": times[:, piece], "mask": key_mask[:, piece]}
        found, cache = step(layer.parameters, layer.settings, x[:, piece], cache, **arguments)
        visible = key_mask[:, piece]
        expected = whole.output[:, piece][visible]
        np.testing.assert_allclose(found.output[visible], expected, rtol=1e-11, atol=1e-12)


def test_pytorch_gives_the_same(layer, tokens, tmp_path):
    """One file is read by all libraries, and says that keys are correlated."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("safetensors")
    from afa_torch import load

    x, times, _ = tokens
    path = tmp_path / "layer.safetensors"
    afa_numpy.save(path, {"": layer})
    assert afa_numpy.load(path).settings.correlated
    expected = attend(layer.parameters, layer.settings, x, query_times=times).output
    with torch.no_grad():
        found, _ = load(path)(torch.asarray(x), query_times=torch.asarray(times))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-10, atol=1e-12)


def test_jax_gives_the_same(make_layer, tokens):
    jax = pytest.importorskip("jax")
    pytest.importorskip("equinox")
    from afa_jax.equinox_layer import AdaptiveFilterAttention

    x, times, _ = tokens
    settings, parameters = make_layer("radial-tangential", correlated=True)
    expected = attend(parameters, settings, x, query_times=times).output
    arrays = {name: jax.numpy.asarray(each) for name, each in parameters.items()}
    equinox = AdaptiveFilterAttention.from_layer(Layer(settings, arrays))
    found, _ = jax.jit(lambda x, times: equinox(x, query_times=times))(x, times)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", ["isotropic", "diagonal", "radial_tangential"])
@pytest.mark.parametrize("damping", ["free", "coupled"])
def test_gains_of_heads_are_spread_in_equal_ratios(form, damping):
    """The gain of the steady state, from the variance P = Kη² of the Kalman filter."""
    settings = Settings(8, 4, 2, 2, form=form, damping=damping, correlated=True)
    start = Start(decay=(0.01, 0.1), frequency=(0.1, 1.0), gain=(0.01, 0.25), step=0.5)
    parameters = {
        name: np.asarray(each.values or np.zeros(each.shape)).reshape(each.shape)
        for name, each in initial(settings, start).items()
    }
    sde = Layer(settings, parameters).sde
    for noise in (sde.noise,) if form != "radial_tangential" else sde[2:4]:
        shape = (4, 2)
        each = (x if x.ndim == 2 else x[:, None] for x in (sde.decay, *noise))
        decay, *noises = (np.broadcast_to(x, shape) for x in each)
        model = afa.DiagonalSDE(decay, np.zeros(2), afa.Noise(*noises))
        found = kalman.filter(np.zeros((4, 2000, 4)), 0.5 * np.arange(2000.0), model)
        gain = found.variance[:, -1] / noises[1]
        expected = np.asarray([0.25, 0.25 / 25 ** (1 / 3), 0.25 / 25 ** (2 / 3), 0.01])
        np.testing.assert_allclose(gain, np.broadcast_to(expected[:, None], shape), rtol=1e-6)


def test_training_moves_decay_and_process_noise():
    torch = pytest.importorskip("torch")
    from afa_torch.layer import AdaptiveFilterAttention

    torch.manual_seed(0)
    layer = AdaptiveFilterAttention(8, 2, weighting="rational", correlated=True)
    names = ("raw_decay", "raw_process")
    before = {name: layer.layer.parameters[name].detach().clone() for name in names}
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.01)
    x = torch.randn(4, 30, 8)
    target = x.cumsum(1) / torch.arange(1.0, 31.0)[:, None]
    losses = []
    for _ in range(40):
        optimiser.zero_grad()
        loss = (layer(x)[0] - target).square().mean()
        loss.backward()
        assert all(p.grad.isfinite().all() for p in layer.parameters() if p.requires_grad)
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    for name, x in before.items():
        assert (layer.layer.parameters[name] != x).all()


def test_exported_to_onnx(make_layer, tokens):
    """By ndonnx, for sequences up to a length, whose scan over keys has as many steps."""
    pytest.importorskip("ndonnx")
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    layer, (x, times, key_mask) = make_layer("diagonal", "float32", correlated=True), tokens
    model = import_module("afa_numpy.onnx").export(layer, 5, batch=2)
    inputs = {"tokens": x.astype("float32"), "times": times, "key_mask": key_mask}
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (found,) = session.run(None, inputs)
    expected = attend(*layer[::-1], x, query_times=times, key_mask=key_mask).output
    np.testing.assert_allclose(found[key_mask], expected[key_mask], rtol=1e-5, atol=1e-5)


def test_refused(make_layer, tokens):
    """Masks that differ from query to query, and gains that are none."""
    x, *_ = tokens
    settings, parameters = make_layer("isotropic", correlated=True)
    with pytest.raises(ValueError, match=r"`mask` must have shape .* with `correlated`"):
        attend(parameters, settings, x, mask=np.tri(5, dtype=bool))
    with pytest.raises(ValueError, match="`correlated` must be True or False, got 'yes'"):
        settings._replace(correlated="yes").validate()
    with pytest.raises(ValueError, match=r"`start` must give gains .* below 1"):
        initial(settings, Start(gain=(0.1, 1.0)))
