"""The layer for Flax NNX: its variables, and the transforms of Flax."""

import numpy as np
import pytest

from afa_core.layer import Layer

nnx = pytest.importorskip("flax.nnx")
optax = pytest.importorskip("optax")
jax = pytest.importorskip("jax")


@pytest.fixture(autouse=True)
def _double(host):
    host("jax")


@pytest.fixture
def module():
    from afa_jax.flax_layer import AdaptiveFilterAttention

    return AdaptiveFilterAttention


def close(a, b, **options):
    options = {"rtol": 1e-11, "atol": 1e-12} | options
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **options), a, b)


def fixed(layer):
    settings, parameters = layer.layer
    return {name for name in parameters if name.removeprefix("raw_") in settings.fixed}


@pytest.mark.parametrize("variant", ["diagonal", "radial-tangential"])
def test_same_as_numpy(variant, make_layer, module_of, tokens):
    x, times, key_mask = tokens
    options = {"need_weights": True, "need_precision": True}
    expected = make_layer(variant)(x, query_times=times, key_mask=key_mask, **options)

    @nnx.jit
    def run(layer, x, times, key_mask):
        return layer.estimate(x, query_times=times, key_mask=key_mask, need_weights=True)

    close(run(module_of(variant), *(jax.numpy.asarray(each) for each in tokens)), expected)


def test_parameters_are_variables(module):
    from afa_jax.flax_layer import Dynamics, Fixed

    layer = module(6, 3, fixed=("frequency", "decay"), rngs=nnx.Rngs(0))
    assert set(nnx.state(layer, Fixed)) == {"frequency", "raw_decay"}
    projections = {"q_proj", "k_proj", "v_proj", "out_proj"}
    own = {name for name in layer.layer.parameters if not name.endswith(("_weight", "_bias"))}
    assert set(nnx.state(layer, nnx.Param)) == projections | own - {"frequency", "raw_decay"}
    assert set(nnx.state(layer, Dynamics)) == own - {"frequency", "raw_decay"}
    graph, state = nnx.split(layer)
    merged = nnx.merge(graph, state)
    assert merged.settings == layer.settings
    close(merged.layer.parameters, layer.layer.parameters, rtol=0, atol=0)
    other = module(6, 3, fixed=("frequency", "decay"), rngs=nnx.Rngs(1))
    assert nnx.graphdef(other) == graph
    assert not np.array_equal(other.q_proj.kernel[...], layer.q_proj.kernel[...])
    assert hash(graph) == hash(nnx.graphdef(module.from_layer(layer.layer)))


def test_training_lowers_the_loss_and_keeps_fixed_parameters(module, tokens):
    layer, x = module(6, 3, form="diagonal", rngs=nnx.Rngs(1)), jax.numpy.asarray(tokens[0])
    before = dict(layer.layer.parameters)
    optimiser = nnx.Optimizer(layer, optax.adamw(1e-2, weight_decay=0.1), wrt=nnx.Param)

    @nnx.jit
    def step(layer, optimiser):
        value, gradient = nnx.value_and_grad(lambda layer: ((layer(x)[0] - x) ** 2).mean())(layer)
        optimiser.update(layer, gradient)
        return value

    losses = [float(step(layer, optimiser)) for _ in range(20)]
    assert losses[-1] < 0.7 * losses[0]
    for name, x in layer.layer.parameters.items():
        assert np.array_equal(x, before[name]) == (name in fixed(layer)), name


@pytest.mark.parametrize("variant", ["radial-tangential", "sphere"])
def test_steps_in_a_scan(variant, make_layer, module_of, tokens):
    expected = make_layer(variant)(tokens[0], query_times=tokens[1]).output
    graph, state = nnx.split(module_of(variant))

    @jax.jit
    def decode(state, x, times):
        layer = nnx.merge(graph, state)

        def step(cache, token):
            x, time = token
            found, cache = layer.step(x[:, None], cache, time=time[:, None])
            return cache, found.output[:, 0]

        cache = layer.empty_cache(x, times=times, capacity=x.shape[-2])
        by_token = jax.numpy.moveaxis(x, 1, 0), times.T
        return jax.numpy.moveaxis(jax.lax.scan(step, cache, by_token)[1], 0, 1)

    close(decode(state, *(jax.numpy.asarray(each) for each in tokens[:2])), expected)


def test_scan_over_stacked_layers(module, tokens):
    """With checkpoints."""
    x = jax.numpy.asarray(tokens[0])

    @nnx.jit
    @nnx.split_rngs(splits=3)
    @nnx.vmap(in_axes=0, out_axes=0)
    def make(rngs):
        return module(6, 3, rngs=rngs)

    @nnx.jit
    def scanned(stacked, x):
        @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
        @nnx.remat
        def block(x, layer):
            return x + layer(x)[0]

        return block(x, stacked)

    stacked = make(nnx.Rngs(0))
    found = scanned(stacked, x)
    graph, state = nnx.split(stacked)
    single = jax.jit(lambda state, x: x + nnx.merge(graph, state)(x)[0])
    for k in range(3):
        x = single(jax.tree.map(lambda each, k=k: each[k], state), x)
    close(found, x)


def test_mixed_precision(module, tokens):
    layer = module(6, 3, dtype="bfloat16", rngs=nnx.Rngs(0))
    for name, each in layer.layer.parameters.items():
        assert each.dtype == ("bfloat16" if name.endswith(("_weight", "_bias")) else "float32")
    x = jax.numpy.asarray(tokens[0])
    for dtype in ("bfloat16", "float32"):
        assert nnx.eval_shape(layer, x.astype(dtype))[0].dtype == dtype


def test_equinox_and_back(module_of, module, tmp_path):
    equinox = pytest.importorskip("afa_jax.equinox_layer")
    import afa_jax

    layer = module_of("sphere")
    afa_jax.save(tmp_path / "layer.safetensors", {"": layer.layer})
    loaded = afa_jax.load(tmp_path / "layer.safetensors")
    other = equinox.AdaptiveFilterAttention.from_layer(loaded)
    converted = module.from_layer(other.layer)
    assert converted.settings == layer.settings
    close(converted.layer.parameters, layer.layer.parameters, rtol=0, atol=0)


def test_errors(module, module_of, make_layer):
    with pytest.raises(TypeError, match=r"settings must be among .*got `mass`"):
        module(6, 3, mass=1.0, rngs=nnx.Rngs(0))
    layer = module_of("isotropic")
    with pytest.raises(ValueError, match=r"\(\.\.\., tokens, 6\), .* got \(2, 5, 5\)"):
        layer(jax.numpy.zeros((2, 5, 5)))
    with pytest.raises(TypeError, match="`query_weight` must be a JAX array, got ndarray"):
        module.from_layer(make_layer("isotropic"))
    settings, parameters = layer.layer
    wrong = {**parameters, "frequency": jax.numpy.zeros((2, 3))}
    with pytest.raises(ValueError, match=r"`frequency` must have shape \(2, 2\), got \(2, 3\)"):
        module.from_layer(Layer(settings, wrong))
