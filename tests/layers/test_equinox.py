"""The layer for Equinox under what JAX does to functions, beside NumPy's."""

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


@pytest.fixture
def held(made, module):
    """Hold the parameters of a NumPy layer in a module."""

    def hold(variant, **options):
        settings, parameters = made(variant, **options)
        own = {name: jax.numpy.asarray(x) for name, x in parameters.items()}
        return module.from_layer(Layer(settings, own))

    return hold


def close(a, b, **options):
    options = {"rtol": 1e-11, "atol": 1e-12} | options
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **options), a, b)


def given(tokens):
    return tuple(jax.numpy.asarray(x) for x in tokens)


def squares(layer, x):
    return (layer(x)[0] ** 2).sum()


@pytest.fixture
def spoilt(tokens):
    """Tokens and times with NaN for padding."""
    x, times, real = tokens
    return np.where(real[..., None], x, np.nan), np.where(real, times, np.nan), real


def test_same_as_numpy(variant, made, held, spoilt):
    x, times, real = spoilt
    options = {"need_weights": True, "need_precision": True}
    want = made(variant)(x, query_times=times, key_mask=real, **options)

    @equinox.filter_jit
    def run(layer, x, times, real):
        return layer.estimate(x, query_times=times, key_mask=real, need_weights=True)

    close(run(held(variant), *given(spoilt)), want)
    assert np.isfinite(want.output).all()


@pytest.mark.parametrize("variant", ["sphere", "radial-tangential"])
def test_gradients(variant, held, tokens, spoilt):
    """They are slopes, zero for fixed parameters, and know nothing of padding."""
    layer, real = held(variant), given(tokens)[2]

    @equinox.filter_jit
    @equinox.filter_value_and_grad
    def slope(layer, x, times):
        found, _ = layer(x, query_times=times, key_mask=real)
        return jax.numpy.where(real[..., None], found**2, 0.0).sum()

    plain = slope(layer, *given(tokens)[:2])
    close(slope(layer, *given(spoilt)[:2]), plain)
    rng = np.random.default_rng(1)
    still, own = fixed(layer), layer.parameters
    direction = {name: rng.standard_normal(x.shape) for name, x in own.items() if name not in still}

    def value(step):
        moved = {name: x + step * direction.get(name, 0.0) for name, x in own.items()}
        there = equinox.tree_at(lambda it: it.parameters, layer, moved)
        return slope(there, *given(tokens)[:2])[0]

    found = plain[1].parameters
    along = sum((found[name] * direction[name]).sum() for name in direction)
    np.testing.assert_allclose(along, (value(1e-6) - value(-1e-6)) / 2e-6, rtol=1e-6)
    assert still
    assert not any(np.any(found[name]) for name in still)


def fixed(layer):
    return [name for name in layer.parameters if name.removeprefix("raw_") in layer.settings.fixed]


@pytest.mark.parametrize("variant", ["isotropic", "diagonal"])
def test_steps_in_a_scan(variant, made, held, tokens):
    whole = made(variant)(tokens[0], query_times=tokens[1]).output

    @equinox.filter_jit
    def decode(layer, x, times):
        cache = layer.empty_cache(x, times=times, capacity=x.shape[-2])

        def step(cache, token):
            x, time = token
            found, cache = layer.step(x[:, None], cache, time=time[:, None])
            return cache, found.output[:, 0]

        by_token = jax.numpy.moveaxis(x, 1, 0), times.T
        return jax.numpy.moveaxis(jax.lax.scan(step, cache, by_token)[1], 0, 1)

    x, times, _ = given(tokens)
    close(decode(held(variant), x, times), whole)


def test_vmap_over_sequences_without_batch(made, held, spoilt):
    x, times, real = spoilt
    want = made("isotropic")(x, query_times=times, key_mask=real).output
    layer = held("isotropic")

    @jax.jit
    @jax.vmap
    def run(x, times, real):
        return layer(x, query_times=times, key_mask=real)[0]

    close(run(*given(spoilt)), want)


def test_scan_over_stacked_layers(module, tokens):
    keys = jax.random.split(jax.random.key(0), 3)

    @equinox.filter_jit
    def make(key):
        return module(6, 3, key=key)

    stacked = equinox.filter_jit(equinox.filter_vmap(make))(keys)
    arrays, static = equinox.partition(stacked, equinox.is_array)

    @jax.jit
    def block(x, own):
        return x + equinox.combine(own, static)(x)[0], None

    x, *_ = given(tokens)
    found, _ = jax.lax.scan(block, x, arrays)
    for k, key in enumerate(keys):
        own = jax.tree.map(lambda x, k=k: x[k], arrays)
        close(equinox.combine(own, static).parameters, make(key).parameters)
        x, _ = block(x, own)
    close(found, x)


def test_checkpoint(held, tokens):
    layer, (x, *_) = held("isotropic"), given(tokens)
    plain = equinox.filter_jit(equinox.filter_grad(squares))(layer, x)
    again = equinox.filter_jit(equinox.filter_grad(equinox.filter_checkpoint(squares)))(layer, x)
    close(again, plain)
    assert max(np.abs(each).max() for each in jax.tree.leaves(plain)) > 1e-3


def test_training_lowers_a_loss_and_leaves_fixed_parameters(module, tokens):
    from afa_jax.equinox_layer import learnt

    x, *_ = given(tokens)
    model = {"layer": module(6, 3, gated=True, fixed=("frequency", "decay"), key=jax.random.key(1))}
    rate = optax.adamw(1e-2, weight_decay=0.1, mask=learnt(model))
    state = rate.init(equinox.filter(model, equinox.is_array))

    @equinox.filter_jit
    def step(model, state):
        value, slope = equinox.filter_value_and_grad(
            lambda m: ((m["layer"](x)[0] - x) ** 2).mean()
        )(model)
        updates, state = rate.update(slope, state, equinox.filter(model, equinox.is_array))
        return equinox.apply_updates(model, updates), state, value

    trained, losses = model, []
    for _ in range(20):
        trained, state, value = step(trained, state)
        losses.append(float(value))
    assert losses[-1] < 0.7 * losses[0]
    for name, x in model["layer"].parameters.items():
        same = np.array_equal(x, trained["layer"].parameters[name])
        assert same == (name in fixed(model["layer"])), name


def test_partition(module):
    from afa_jax.equinox_layer import learnt

    model = [module(6, 3, key=jax.random.key(0)), jax.numpy.ones(2), jax.numpy.arange(2), "name"]
    moving, still = equinox.partition(model, learnt(model))
    assert moving[0].parameters["frequency"] is None
    assert still[0].parameters["query_weight"] is None
    assert (moving[2], moving[3], still[1]) == (None, None, None)


def test_mixed_precision(module, made, tokens):
    """Tokens of bfloat16 are projected in it; the dynamics and their gradients stay single."""
    layer = module(6, 3, dtype="bfloat16", key=jax.random.key(0))
    for name, each in layer.parameters.items():
        narrow = name.endswith(("_weight", "_bias"))
        assert each.dtype == ("bfloat16" if narrow else "float32")
    x = jax.numpy.asarray(tokens[0], "bfloat16")
    assert jax.eval_shape(layer, x)[0].dtype == "bfloat16"
    assert jax.eval_shape(layer, x.astype("float32"))[0].dtype == "float32"
    settings, parameters = made("isotropic", "float32")
    wide = module.from_layer(
        Layer(settings, {name: jax.numpy.asarray(each) for name, each in parameters.items()})
    )

    @equinox.filter_jit
    @equinox.filter_grad(has_aux=True)
    def slope(layer, x, times):
        found, _ = layer(x, query_times=times)
        return (found**2).sum().astype("float32"), found

    times = jax.numpy.asarray(tokens[1], "float32")
    slopes, found = slope(wide, x, times)
    assert found.dtype == "bfloat16"
    rounded = np.asarray(x.astype("float32"))
    want = made("isotropic", "float32")(rounded, query_times=np.asarray(times)).output
    close(found.astype("float32"), want, rtol=0.05, atol=0.05)
    for name, each in slopes.parameters.items():
        assert each.dtype == "float32"
        assert np.isfinite(each).all()
        assert np.any(each) == (name not in fixed(wide)), name
    # less than the spacing of bfloat16 makes a difference after a while
    faster = equinox.tree_at(
        lambda it: it.parameters["frequency"], wide, replace_fn=lambda x: x * 1.001
    )
    assert not np.array_equal(slope(wide, x, 999 * times)[1], slope(faster, x, 999 * times)[1])


def test_first_parameters(module):
    layer = module(8, 2, key=jax.random.key(3))
    assert layer.settings.modes == layer.settings.value_modes == 2
    weight = np.asarray(module(64, 4, key=jax.random.key(3)).parameters["query_weight"])
    np.testing.assert_allclose(weight.std(), 1.0 / np.sqrt(64 + 32), rtol=0.05)
    assert not np.any(layer.parameters["query_bias"])
    assert not np.array_equal(layer.parameters["query_weight"], layer.parameters["key_weight"])
    decays = np.log1p(np.exp(layer.parameters["raw_decay"]))
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


def test_wrong_arguments(held, made, module, tokens):
    layer, (x, *_) = held("isotropic"), given(tokens)
    for call in (layer, layer.estimate, layer.empty_cache):
        with pytest.raises(ValueError, match=r"\(\.\.\., tokens, 6\), .* got \(2, 5, 5\)"):
            call(x[..., :5])
        with pytest.raises(TypeError, match=r"must be an array .* got list"):
            call([1.0])
    with pytest.raises(TypeError, match="`query_weight` must be a JAX array, got ndarray"):
        module.from_layer(made("isotropic"))
    settings, parameters = layer.layer
    with pytest.raises(ValueError, match="`frequency` is missing"):
        module.from_layer(
            Layer(settings, {n: x for n, x in parameters.items() if n != "frequency"})
        )


def test_file(held, made, tmp_path, tokens):
    import afa_jax
    import afa_numpy

    path = tmp_path / "model.safetensors"
    layer, others = held("diagonal", dtype="float32"), {"norm": jax.numpy.ones(3, "bfloat16")}
    afa_jax.save(path, {"a.": layer.layer}, others)
    found, rest = afa_jax.load_layers(path)
    assert isinstance(found["a."].parameters["frequency"], jax.Array)
    assert rest["norm"].dtype == jax.numpy.bfloat16
    again = type(layer).from_layer(found["a."])
    assert jax.tree.structure(again) == jax.tree.structure(layer)
    close(again, layer, rtol=0, atol=0)
    x = tokens[0].astype("float32")
    numpy, _ = afa_numpy.load_layers(path)
    close(numpy["a."](x).output, made("diagonal", "float32")(x).output, rtol=0, atol=0)
