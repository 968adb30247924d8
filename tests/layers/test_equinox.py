"""The layer for Equinox under the transforms of JAX, against the layer on NumPy."""

import numpy as np
import pytest

from afa_core.layer import Layer

equinox = pytest.importorskip("equinox")
optax = pytest.importorskip("optax")
jax = pytest.importorskip("jax")


@pytest.fixture(autouse=True)
def _double(host):
    host("jax")


@pytest.fixture
def module():
    from afa_jax.equinox_layer import AdaptiveFilterAttention

    return AdaptiveFilterAttention


def close(a, b, **options):
    options = {"rtol": 1e-11, "atol": 1e-12} | options
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **options), a, b)


def on_jax(tokens):
    return tuple(jax.numpy.asarray(x) for x in tokens)


def squares(layer, x):
    return (layer(x)[0] ** 2).sum()


def test_same_as_numpy(variant, make_layer, module_of, tokens_with_nan):
    x, times, key_mask = tokens_with_nan
    options = {"need_weights": True, "need_precision": True}
    expected = make_layer(variant)(x, query_times=times, key_mask=key_mask, **options)

    @equinox.filter_jit
    def run(layer, x, times, key_mask):
        return layer.estimate(x, query_times=times, key_mask=key_mask, need_weights=True)

    close(run(module_of(variant), *on_jax(tokens_with_nan)), expected)
    assert np.isfinite(expected.output).all()


@pytest.mark.parametrize("variant", ["sphere", "radial-tangential"])
def test_gradients(variant, module_of, tokens, tokens_with_nan):
    """Equal to differences, zero for fixed parameters, and independent of padding."""
    layer, key_mask = module_of(variant), on_jax(tokens)[2]

    @equinox.filter_jit
    @equinox.filter_value_and_grad
    def value_and_grad(layer, x, times):
        found, _ = layer(x, query_times=times, key_mask=key_mask)
        return jax.numpy.where(key_mask[..., None], found**2, 0.0).sum()

    plain = value_and_grad(layer, *on_jax(tokens)[:2])
    close(value_and_grad(layer, *on_jax(tokens_with_nan)[:2]), plain)
    rng = np.random.default_rng(1)
    settings, parameters = layer.layer
    direction = {
        name: rng.standard_normal(x.shape)
        for name, x in parameters.items()
        if name not in fixed(layer)
    }

    def value(step):
        moved = {name: x + step * direction.get(name, 0.0) for name, x in parameters.items()}
        shifted = type(layer).from_layer(Layer(settings, moved))
        return value_and_grad(shifted, *on_jax(tokens)[:2])[0]

    gradients = plain[1].layer.parameters
    derivative = sum((gradients[name] * direction[name]).sum() for name in direction)
    np.testing.assert_allclose(derivative, (value(1e-6) - value(-1e-6)) / 2e-6, rtol=1e-6)
    assert fixed(layer)
    assert not any(np.any(gradients[name]) for name in fixed(layer))


def fixed(layer):
    settings, parameters = layer.layer
    return [name for name in parameters if name.removeprefix("raw_") in settings.fixed]


@pytest.mark.parametrize("variant", ["isotropic", "diagonal"])
def test_steps_in_a_scan(variant, make_layer, module_of, tokens):
    expected = make_layer(variant)(tokens[0], query_times=tokens[1]).output

    @equinox.filter_jit
    def decode(layer, x, times):
        cache = layer.empty_cache(x, times=times, capacity=x.shape[-2])

        def step(cache, token):
            x, time = token
            found, cache = layer.step(x[:, None], cache, time=time[:, None])
            return cache, found.output[:, 0]

        by_token = jax.numpy.moveaxis(x, 1, 0), times.T
        return jax.numpy.moveaxis(jax.lax.scan(step, cache, by_token)[1], 0, 1)

    x, times, _ = on_jax(tokens)
    close(decode(module_of(variant), x, times), expected)


def test_vmap_over_sequences_without_batch(make_layer, module_of, tokens_with_nan):
    x, times, key_mask = tokens_with_nan
    expected = make_layer("isotropic")(x, query_times=times, key_mask=key_mask).output
    layer = module_of("isotropic")

    @jax.jit
    @jax.vmap
    def run(x, times, key_mask):
        return layer(x, query_times=times, key_mask=key_mask)[0]

    close(run(*on_jax(tokens_with_nan)), expected)


def test_scan_over_stacked_layers(module, tokens):
    keys = jax.random.split(jax.random.key(0), 3)

    @equinox.filter_jit
    def make(key):
        return module(6, 3, key=key)

    stacked = equinox.filter_jit(equinox.filter_vmap(make))(keys)
    arrays, static = equinox.partition(stacked, equinox.is_array)

    @jax.jit
    def block(x, layer):
        return x + equinox.combine(layer, static)(x)[0], None

    x, *_ = on_jax(tokens)
    found, _ = jax.lax.scan(block, x, arrays)
    for k, key in enumerate(keys):
        layer = jax.tree.map(lambda x, k=k: x[k], arrays)
        close(equinox.combine(layer, static), make(key))
        x, _ = block(x, layer)
    close(found, x)


def test_checkpoint(module_of, tokens):
    layer, (x, *_) = module_of("isotropic"), on_jax(tokens)
    plain = equinox.filter_jit(equinox.filter_grad(squares))(layer, x)
    checkpointed = equinox.filter_checkpoint(squares)
    found = equinox.filter_jit(equinox.filter_grad(checkpointed))(layer, x)
    close(found, plain)
    assert max(np.abs(each).max() for each in jax.tree.leaves(plain)) > 1e-3


def test_training_lowers_the_loss_and_keeps_fixed_parameters(module, tokens):
    from afa_jax.equinox_layer import learnt

    x, *_ = on_jax(tokens)
    model = {"layer": module(6, 3, gated=True, fixed=("frequency", "decay"), key=jax.random.key(1))}
    optimiser = optax.adamw(1e-2, weight_decay=0.1, mask=learnt(model))
    state = optimiser.init(equinox.filter(model, equinox.is_array))

    @equinox.filter_jit
    def step(model, state):
        value, gradient = equinox.filter_value_and_grad(
            lambda model: ((model["layer"](x)[0] - x) ** 2).mean()
        )(model)
        updates, state = optimiser.update(gradient, state, equinox.filter(model, equinox.is_array))
        return equinox.apply_updates(model, updates), state, value

    trained, losses = model, []
    for _ in range(20):
        trained, state, value = step(trained, state)
        losses.append(float(value))
    assert losses[-1] < 0.7 * losses[0]
    after = trained["layer"].layer.parameters
    for name, x in model["layer"].layer.parameters.items():
        same = np.array_equal(x, after[name])
        assert same == (name in fixed(model["layer"])), name


def test_partition(module):
    from afa_jax.equinox_layer import learnt

    model = [module(6, 3, key=jax.random.key(0)), jax.numpy.ones(2), jax.numpy.arange(2), "name"]
    learned, other = equinox.partition(model, learnt(model))
    assert learned[0].dynamics["frequency"] is None
    assert other[0].q_proj.weight is None
    assert (learned[2], learned[3], other[1]) == (None, None, None)


def test_mixed_precision(module, make_layer, tokens):
    """Tokens of bfloat16 are projected in it; dynamics and gradients are in single precision."""
    layer = module(6, 3, dtype="bfloat16", key=jax.random.key(0))
    for name, each in layer.layer.parameters.items():
        narrow = name.endswith(("_weight", "_bias"))
        assert each.dtype == ("bfloat16" if narrow else "float32")
    x = jax.numpy.asarray(tokens[0], "bfloat16")
    assert jax.eval_shape(layer, x)[0].dtype == "bfloat16"
    assert jax.eval_shape(layer, x.astype("float32"))[0].dtype == "float32"
    settings, parameters = make_layer("isotropic", "float32")
    wide = module.from_layer(
        Layer(settings, {name: jax.numpy.asarray(each) for name, each in parameters.items()})
    )

    @equinox.filter_jit
    @equinox.filter_grad(has_aux=True)
    def gradient(layer, x, times):
        found, _ = layer(x, query_times=times)
        return (found**2).sum().astype("float32"), found

    times = jax.numpy.asarray(tokens[1], "float32")
    gradients, found = gradient(wide, x, times)
    assert found.dtype == "bfloat16"
    rounded = np.asarray(x.astype("float32"))
    expected = make_layer("isotropic", "float32")(rounded, query_times=np.asarray(times)).output
    close(found.astype("float32"), expected, rtol=0.05, atol=0.05)
    for name, each in gradients.layer.parameters.items():
        assert each.dtype == "float32"
        assert np.isfinite(each).all()
        assert np.any(each) == (name not in fixed(wide)), name
    # a change of the frequency below the spacing of bfloat16 changes the results at large times
    faster = equinox.tree_at(
        lambda layer: layer.dynamics["frequency"], wide, replace_fn=lambda x: x * 1.001
    )
    late = [gradient(layer, x, 999 * times)[1] for layer in (wide, faster)]
    assert not np.array_equal(*late)


def test_initial_parameters(module):
    layer = module(8, 2, key=jax.random.key(3))
    assert layer.settings.modes == layer.settings.value_modes == 2
    weight = np.asarray(module(64, 4, key=jax.random.key(3)).q_proj.weight)
    np.testing.assert_allclose(weight.std(), 1.0 / np.sqrt(64 + 32), rtol=0.05)
    assert not np.any(layer.q_proj.bias)
    assert not np.array_equal(layer.q_proj.weight, layer.k_proj.weight)
    decays = np.log1p(np.exp(layer.dynamics["raw_decay"]))
    np.testing.assert_allclose(decays, [1 / 8, 1 / 1024])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"mass": 1.0}, TypeError, "settings must be among .*got `mass`"),
        ({"form": "round"}, ValueError, "`form` must be one of .*got 'round'"),
        ({"num_heads": 0}, ValueError, "`num_heads` must be a positive integer, got 0"),
        ({"fixed": ("mass",)}, ValueError, "`fixed` must name parameters"),
    ],
)
def test_wrong_settings(arguments, error, message, module):
    with pytest.raises(error, match=message):
        module(**{"embed_dim": 8, "num_heads": 2, "key": jax.random.key(0)} | arguments)


def test_wrong_arguments(module_of, make_layer, module, tokens):
    layer, (x, *_) = module_of("isotropic"), on_jax(tokens)
    for call in (layer, layer.estimate, layer.empty_cache):
        with pytest.raises(ValueError, match=r"\(\.\.\., tokens, 6\), .* got \(2, 5, 5\)"):
            call(x[..., :5])
        with pytest.raises(TypeError, match=r"must be an array .* got list"):
            call([1.0])
    with pytest.raises(TypeError, match="`query_weight` must be a JAX array, got ndarray"):
        module.from_layer(make_layer("isotropic"))
    settings, parameters = layer.layer
    with pytest.raises(ValueError, match="`frequency` is missing"):
        module.from_layer(
            Layer(settings, {n: x for n, x in parameters.items() if n != "frequency"})
        )


def test_file(module_of, make_layer, tmp_path, tokens):
    import afa_jax
    import afa_numpy

    path = tmp_path / "model.safetensors"
    layer, others = module_of("diagonal", dtype="float32"), {"norm": jax.numpy.ones(3, "bfloat16")}
    afa_jax.save(path, {"a.": layer.layer}, others)
    found, loaded_others = afa_jax.load_layers(path)
    assert isinstance(found["a."].parameters["frequency"], jax.Array)
    assert loaded_others["norm"].dtype == jax.numpy.bfloat16
    loaded = type(layer).from_layer(found["a."])
    assert jax.tree.structure(loaded) == jax.tree.structure(layer)
    close(loaded, layer, rtol=0, atol=0)
    x = tokens[0].astype("float32")
    numpy, _ = afa_numpy.load_layers(path)
    close(numpy["a."](x).output, make_layer("diagonal", "float32")(x).output, rtol=0, atol=0)
