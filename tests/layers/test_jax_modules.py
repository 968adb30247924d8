"""Projections as modules, dropout, masks and groups of parameters in the layers of JAX."""

from functools import partial

import numpy as np
import pytest

from afa_core.layer import Layer, initial, trained

equinox = pytest.importorskip("equinox")
nnx = pytest.importorskip("flax.nnx")
optax = pytest.importorskip("optax")
jax = pytest.importorskip("jax")

PROJECTIONS = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "out_proj": "output"}


@pytest.fixture(autouse=True)
def _double(host):
    host("jax")


class Equinox:
    """How the tests use the layer for Equinox."""

    linear, jit = equinox.nn.Linear, staticmethod(equinox.filter_jit)

    def __init__(self):
        from afa_jax import equinox_layer

        self.module = equinox_layer

    def make(self, *sizes, seed=0, **options):
        key = jax.random.key(seed)
        return self.module.AdaptiveFilterAttention(*sizes, key=key, **options)

    def random(self, seed):
        return {"key": jax.random.key(seed)}

    def evaluating(self, layer):
        return equinox.nn.inference_mode(layer)

    def adapted(self, layer, down, up):
        """Return a layer with an adapter in place of every projection."""

        def modules(layer):
            return [getattr(layer, each) for each in PROJECTIONS]

        adapters = map(Adapter, modules(layer), down.values(), up.values())
        return equinox.tree_at(modules, layer, list(adapters))

    def loss_and_gradient(self, loss, layer):
        return equinox.filter_value_and_grad(loss)(layer)

    def by_name(self, layer):
        from afa_jax.equinox_parameters import parameters_of

        return parameters_of(layer)

    def labelled_model(self):
        """Return parameters and their labels; Optax calls labels that can be called."""
        model = [self.make(8, 2, gated=True), equinox.nn.LayerNorm(8)]
        return model, self.module.parameter_labels


class Adapter(equinox.Module):
    """A projection of one token with an update of low rank."""

    base: equinox.nn.Linear
    down: jax.Array
    up: jax.Array

    def __call__(self, token):
        assert token.ndim == 1
        assert token.dtype == self.down.dtype
        return self.base(token) + token @ self.down @ self.up


class Flax:
    """How the tests use the layer for Flax."""

    linear, jit = nnx.Linear, staticmethod(nnx.jit)

    def __init__(self):
        from afa_jax import flax_layer

        self.module = flax_layer

    def make(self, *sizes, seed=0, **options):
        return self.module.AdaptiveFilterAttention(*sizes, rngs=nnx.Rngs(seed), **options)

    def random(self, seed):
        return {"rngs": nnx.Rngs(seed)}

    def evaluating(self, layer):
        layer.eval()
        return layer

    def adapted(self, layer, down, up):
        """Return a layer with an adapter in place of every projection."""
        for attribute in PROJECTIONS:
            linear = getattr(layer, attribute)
            sizes = linear.in_features, linear.out_features
            options = {"lora_rank": 1, "param_dtype": "float64", "lora_param_dtype": "float64"}
            adapter = nnx.LoRALinear(*sizes, rngs=nnx.Rngs(0), **options)
            adapter.kernel, adapter.bias = linear.kernel, linear.bias
            adapter.lora.lora_a = nnx.LoRAParam(down[attribute])
            adapter.lora.lora_b = nnx.LoRAParam(up[attribute])
            setattr(layer, attribute, adapter)
        return layer

    def loss_and_gradient(self, loss, layer):
        return nnx.value_and_grad(loss)(layer)

    def by_name(self, state):
        def name(projection, part=None):
            parts = {"kernel": "weight", "bias": "bias"}
            return f"{PROJECTIONS[projection]}_{parts[part]}" if part else projection

        return {name(*path): each for path, each in nnx.to_flat_state(nnx.as_pure(state))}

    def labelled_model(self):
        """Return parameters and their labels."""
        layer = self.make(8, 2, gated=True)
        model = nnx.List([layer, nnx.LayerNorm(8, rngs=nnx.Rngs(0))])
        return nnx.as_pure(nnx.state(model, nnx.Param)), self.module.parameter_labels(model)


@pytest.fixture(params=[Equinox, Flax], ids=["equinox", "flax"])
def framework(request):
    return request.param()


def draw(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def close(a, b, tolerance=1e-11):
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def test_projections_are_linear_modules(framework):
    layer = framework.make(8, 2, num_kv_heads=1, key_features=6)
    for attribute, name in PROJECTIONS.items():
        projection = getattr(layer, attribute)
        assert type(projection) is framework.linear
        weight = layer.layer.parameters[f"{name}_weight"]
        assert weight.shape == (projection.out_features, projection.in_features)
    assert (layer.k_proj.in_features, layer.k_proj.out_features) == (6, 4)
    for name, each in initial(layer.settings).items():
        found = layer.layer.parameters[name]
        assert found.shape == each.shape
        if each.values:
            close(found, np.reshape(each.values, each.shape))


def test_adapters_are_called(framework):
    layer, x = framework.make(8, 2), draw(2, 5, 8)
    settings, parameters = layer.layer
    down = {each: 0.3 * draw(8, 1, seed=k) for k, each in enumerate(PROJECTIONS)}
    up = {each: draw(1, 8, seed=9 + k) for k, each in enumerate(PROJECTIONS)}
    updates = {f"{name}_weight": (down[each] @ up[each]).T for each, name in PROJECTIONS.items()}
    merged = Layer(settings, {n: w + updates.get(n, 0.0) for n, w in parameters.items()})
    adapted = framework.adapted(layer, down, up)

    @framework.jit
    def run(adapted):
        step, _ = adapted.step(x, adapted.empty_cache(x))
        loss, gradient = framework.loss_and_gradient(lambda a: (a(x)[0] ** 2).sum(), adapted)
        return step.output, merged(x).output, loss, gradient

    step, expected, loss, gradient = run(adapted)
    close(step, expected, 1e-10)
    close(loss, (expected**2).sum())
    assert all(np.any(each) for each in jax.tree.leaves(gradient) if each.size == 8)
    kind = "an equinox.nn.Linear" if isinstance(framework, Equinox) else "an nnx.Linear"
    with pytest.raises(TypeError, match=rf"`q_proj` must be {kind} for .* got .*\. Merge adapters"):
        _ = adapted.layer


def test_results_have_the_dtype_of_tokens(framework):
    x = draw(2, 5, 8).astype("bfloat16")
    wide = {each: draw(8, 1).astype("float32") for each in PROJECTIONS}
    layer = framework.make(8, 2, dtype="float32")
    run = framework.jit(lambda layer, x: layer(x)[0])
    expected = run(layer, x.astype("float32"))
    assert jax.eval_shape(run, layer, x).dtype == "bfloat16"
    if isinstance(framework, Flax):
        assert layer.q_proj(x).dtype == "bfloat16"
    adapted = framework.adapted(layer, wide, {n: 0.0 * w.T for n, w in wide.items()})
    found = run(adapted, x)
    assert found.dtype == "bfloat16"
    close(found.astype("float32"), expected, 0.05)
    with pytest.raises(TypeError, match=r"`query` must have a floating dtype, got int64. Embed"):
        layer(jax.numpy.ones((2, 5, 8), "int64"))


def test_masks_and_biases_of_every_rank(framework):
    layer, x = framework.make(8, 2), draw(3, 5, 8)
    whole, bias = np.random.default_rng(1).random((3, 2, 5, 5)) < 0.7, draw(3, 2, 5, 5)

    @framework.jit
    def run(layer):
        outputs = []
        for mask in (whole[0, 0], whole[:, 0], whole):
            mask = jax.numpy.asarray(mask)
            full = jax.numpy.broadcast_to(mask[:, None] if mask.ndim == 3 else mask, whole.shape)
            hidden = jax.numpy.where(mask, 0.0, -jax.numpy.inf)
            of_mask, of_bias = layer(x, mask=mask)[0], layer(x, logit_bias=hidden)[0]
            outputs.append((layer.layer(x, mask=full).output, of_mask, of_bias))
        options = {"need_weights": True, "causal": False}
        return outputs, layer(x, **options)[1], layer(x, logit_bias=bias, **options)[1]

    outputs, plain, found = run(layer)
    for expected, of_mask, of_bias in outputs:
        close(of_mask, expected)
        close(of_bias, expected)
    close(found, jax.nn.softmax(jax.numpy.log(plain) + bias))


def test_dropout_of_weights(framework):
    """Weights are zero or divided by 1 − p, and the estimate is their sum of values."""
    layer, x = framework.make(8, 2, dropout=0.4), draw(3, 5, 8)
    plain = jax.jit(partial(layer.layer, need_weights=True))(x)
    run = framework.jit(lambda layer, x, random: layer(x, need_weights=True, **random))
    output, weights = run(layer, x, framework.random(1))
    factor = weights / np.where(plain.weights > 0, plain.weights, 1.0)
    close(factor * (factor - 1 / 0.6), np.zeros_like(factor))
    kept = (factor > 0).sum() / (plain.weights > 0).sum()
    assert 0.4 < kept < 0.8
    close(run(layer, x, framework.random(1))[0], output)
    assert not np.allclose(run(layer, x, framework.random(2))[0], output)
    with pytest.raises(ValueError, match="must be 'reference' or 'auto' with `dropout`"):
        layer(x, implementation="streaming", **framework.random(1))
    evaluated = framework.evaluating(layer)
    streamed = framework.jit(lambda layer: layer(x, implementation="streaming")[0])(evaluated)
    close(streamed, plain.output)
    with pytest.raises(ValueError, match="`dropout` must be a probability, from 0 to 1, got 2"):
        framework.make(8, 2, dropout=2)


def test_random_keys_of_equinox():
    layer, x = Equinox().make(8, 2, dropout=0.4), draw(1, 5, 8)
    with pytest.raises(ValueError, match="`key` must be a random key with dropout, got None"):
        layer(x)
    with pytest.raises(TypeError, match=r"random key of dropout, got .*float64. .* as `key_`"):
        layer(x, key=x)
    off, key = equinox.nn.inference_mode(layer), jax.random.key(0)
    run = equinox.filter_jit(lambda layer, **options: layer(x, **options)[0])
    plain = run(layer, inference=True)
    assert np.array_equal(run(off), plain)
    assert not np.allclose(run(off, key=key, inference=False), plain)
    assert all(map(equinox.is_array, jax.tree.leaves(Equinox().make(8, 2))))


def test_streams_of_flax():
    layer, x = Flax().make(8, 2, dropout=0.4), draw(3, 5, 8)
    run = nnx.jit(lambda layer: layer(x)[0])
    first, second = run(layer), run(layer)
    assert not np.allclose(first, second)
    layer.eval()
    plain = run(layer)
    layer.train()
    assert not np.allclose(run(layer), plain)
    assert np.array_equal(nnx.jit(lambda layer: layer(x, deterministic=True)[0])(layer), plain)
    converted = type(layer).from_layer(layer.layer, dropout=0.4)
    with pytest.raises(ValueError, match="no `rngs` argument was provided"):
        jax.eval_shape(lambda: converted(x)[0])
    converted = type(layer).from_layer(layer.layer, dropout=0.4, rngs=nnx.Rngs(0))
    assert not np.allclose(run(converted), plain)


def test_dropout_differs_in_scanned_layers():
    """Each of the stacked layers draws from a stream of its own."""
    layer_class = Flax().module.AdaptiveFilterAttention

    @nnx.split_rngs(splits=2)
    @nnx.vmap
    def make(rngs):
        return layer_class(8, 2, dropout=0.5, rngs=rngs)

    @nnx.jit
    def run(layers, x):
        @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=(nnx.Carry, 0))
        @nnx.remat
        def block(x, layer):
            return x, layer(x, need_weights=True)[1]

        return block(x, layers)[1]

    layers, x = make(nnx.Rngs(0)), draw(1, 8, 8)
    first, second = run(layers, x), run(layers, x)
    dropped = [np.asarray(each) == 0 for each in (*first, *second)]
    assert not any(np.array_equal(a, b) for k, a in enumerate(dropped) for b in dropped[:k])


def test_text(framework):
    text = repr(framework.make(8, 2, form="diagonal", num_kv_heads=1, dropout=0.5))
    for each in ("embed_dim=8", "num_kv_heads=1", "form='diagonal'", "q_proj=Linear", "0.5"):
        assert each in text
    for each in ("weighting", "settings", "horizon"):
        assert each not in text
    assert "num_kv_heads" not in repr(framework.make(8, 2))


@pytest.mark.parametrize(
    "settings", [{"fixed": ("query_weight", "decay")}, {"weighting": "uniform", "gated": True}]
)
def test_labels_of_parameters(framework, settings):
    """Those that are not trained have no gradient, and no label to be updated by."""
    layer, x = framework.make(8, 2, normalised=("value",), **settings), draw(2, 5, 8)
    kinds = {"weight": "matrices", "bias": "vectors"}
    expected = {n: kinds.get(n.rpartition("_")[2], "dynamics") for n in trained(layer.settings)}
    assert {"query_weight", "frequency"} & set(layer.layer.parameters) - set(expected)
    assert expected["output_weight"] == "matrices"
    assert expected["value_gain"] == "dynamics"
    labels = framework.by_name(framework.module.parameter_labels(layer))
    assert {name: label for name, label in labels.items() if label != "fixed"} == expected
    loss = partial(framework.loss_and_gradient, lambda layer: (layer(x)[0] ** 2).sum())
    _, gradient = framework.jit(loss)(layer)
    moved = {name for name, each in framework.by_name(gradient).items() if np.any(each)}
    assert moved <= set(expected)
    assert {"value_weight", "value_gain", "raw_process"} <= moved


def test_labels_of_what_has_no_values():
    """Of an abstract model they are those of the model; what was partitioned off has none."""
    from afa_jax.equinox_layer import AdaptiveFilterAttention, learnt, parameter_labels

    def make(key):
        other = [equinox.nn.LayerNorm(8), equinox.nn.Conv1d(3, 4, 3, key=key)]
        return [AdaptiveFilterAttention(8, 2, key=key), *other]

    model = make(jax.random.key(0))
    labels = parameter_labels(model)
    assert labels[1].weight == labels[2].bias == "vectors"
    assert labels[2].weight == "matrices"
    assert parameter_labels(equinox.filter_eval_shape(make, jax.random.key(0))) == labels
    learned, _ = equinox.partition(model, learnt(model))
    found = parameter_labels(learned)
    assert jax.tree.structure(found) == jax.tree.structure(learned)
    assert "fixed" not in jax.tree.leaves(found)


def test_fixed_parameters_have_a_label_where_a_filter_includes_them():
    from afa_jax.flax_layer import AdaptiveFilterAttention, Fixed, parameter_labels

    layer = AdaptiveFilterAttention(8, 2, rngs=nnx.Rngs(0))
    assert parameter_labels(layer, (nnx.Param, Fixed))["frequency"] == "fixed"


def test_errors_name_what_is_wrong(framework):
    layer, x = framework.make(8, 2), draw(2, 5, 8)
    for unknown in ("need_precision", "dropout", "projections", "masks"):
        with pytest.raises(TypeError, match=f"got `{unknown}`"):
            layer(x, **{unknown: None})
        with pytest.raises(TypeError, match=f"got `{unknown}`"):
            layer.estimate(x, **{unknown: None})
    with pytest.raises(TypeError, match="`query` must be"):
        layer(None)
    with pytest.raises(ValueError, match="`dropout` must be a probability"):
        type(layer).from_layer(layer.layer, dropout=2.0)


@pytest.mark.parametrize("tokens", [np.ones((2, 5, 8)), np.ones((2, 5, 8), int)])
def test_tokens_are_no_random_key(tokens):
    layer, x = Equinox().make(8, 2), draw(2, 5, 8)
    for given in (tokens, jax.numpy.asarray(tokens)):
        with pytest.raises(TypeError, match="Pass the tokens of the keys as `key_`"):
            layer(x, key=given)
    close(layer(x, key=jax.random.PRNGKey(0))[0], layer(x)[0])


def test_weight_decay_leaves_the_dynamics(framework):
    """Nor does it move vectors, in 500 steps without a gradient."""
    parameters, labels = framework.labelled_model()

    def after_steps(optimiser):
        zeros = jax.tree.map(jax.numpy.zeros_like, parameters)

        def step(_, carry):
            parameters, state = carry
            updates, state = optimiser.update(zeros, state, parameters)
            return optax.apply_updates(parameters, updates), state

        first = parameters, optimiser.init(parameters)
        return jax.jit(lambda: jax.lax.fori_loop(0, 500, step, first)[0])()

    groups = {each: optax.adam(1e-2) for each in ("vectors", "dynamics", "fixed")}
    decayed = {"matrices": optax.adamw(1e-2, weight_decay=0.1)}
    after = after_steps(optax.multi_transform(groups | decayed, labels))
    labels = labels(parameters) if labels is framework.module.parameter_labels else labels
    same = jax.tree.map(np.array_equal, parameters, after)
    assert jax.tree.map(lambda label: label != "matrices", labels) == same
    plain = jax.tree.map(np.array_equal, parameters, after_steps(optax.adamw(1e-2)))
    moved = jax.tree.map(lambda label, same: label == "dynamics" and not same, labels, plain)
    assert any(jax.tree.leaves(moved))


def test_shards_of_a_sequence(framework):
    layer, x = framework.make(8, 2), draw(2, 6, 8)
    mesh = jax.make_mesh((1,), ("ring",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec(None, "ring")

    @partial(jax.shard_map, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False)
    def on_ring(x):
        return layer(x, axis_name="ring")[0]

    close(*jax.jit(lambda x: (on_ring(x), layer(x)[0]))(x))
    with pytest.raises(ValueError, match="`logit_bias` is not supported on a ring"):
        layer(x, axis_name="ring", logit_bias=jax.numpy.zeros((6, 6)))
