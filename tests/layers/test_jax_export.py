"""Layers exported to StableHLO, serialised, read and called, for one length or for all."""

import numpy as np
import pytest

from afa_core.layer import Layer

jax = pytest.importorskip("jax")
export = pytest.importorskip("jax.export")


@pytest.fixture(autouse=True)
def _double(host):
    host("jax")


def round_trip(function, *shapes):
    """Export a function to bytes, and return the function read from them."""
    exported = export.export(jax.jit(function))(*shapes)
    return export.deserialize(exported.serialize()).call


def on_jax(layer):
    arrays = {name: jax.numpy.asarray(x) for name, x in layer.parameters.items()}
    return layer._replace(parameters=arrays)


def shape(*sizes, dtype="float64"):
    return jax.ShapeDtypeStruct(sizes, dtype)


def test_any_length(variant, make_layer, tokens, tokens_with_nan):
    """The reference is exported once for all batch sizes and lengths, with times and masks."""
    layer = make_layer(variant)
    batch, n = export.symbolic_shape("batch, n", constraints=["n >= 2"])

    def run(x, times, key_mask):
        options = {"mask": key_mask[:, None, None, :], "implementation": "reference"}
        return on_jax(layer)(x, query_times=times, **options).output

    shapes = shape(batch, n, 6), shape(batch, n), shape(batch, n, dtype=bool)
    call = round_trip(run, *shapes)
    x, times, key_mask = tokens
    expected = layer(x, query_times=times, key_mask=key_mask).output
    found = np.asarray(call(tokens_with_nan[0], times, key_mask))
    np.testing.assert_allclose(found[key_mask], expected[key_mask], rtol=1e-11, atol=1e-12)
    shorter = x[:1, :3], times[:1, :3], key_mask[:1, :3]
    expected = layer(shorter[0], query_times=shorter[1]).output
    np.testing.assert_allclose(call(*shorter), expected, rtol=1e-11, atol=1e-12)


def test_any_number_of_other_keys(make_layer, tokens):
    layer = make_layer("isotropic")
    n, m = export.symbolic_shape("n, m")

    def run(x, key, times, key_times, key_mask):
        options = {"query_times": times, "key_times": key_times, "mask": key_mask}
        options |= {"causal": False, "implementation": "reference"}
        return on_jax(layer)(x, key, **options).output

    shapes = shape(n, 6), shape(m, 6), shape(n), shape(m), shape(m, dtype=bool)
    (x, key), (times, key_times), (_, key_mask) = tokens
    expected = layer(
        x[:2], key, query_times=times[:2], key_times=key_times, causal=False, key_mask=key_mask
    )
    found = round_trip(run, *shapes)(x[:2], key, times[:2], key_times, key_mask)
    np.testing.assert_allclose(found, expected.output, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("correlated", [False, True])
def test_parameters_as_arguments_and_tiles(make_layer, tokens, correlated):
    """A program for one length, with the parameters as arguments, may stream over tiles."""
    exact = make_layer("isotropic")
    exact = exact._replace(settings=exact.settings._replace(correlated=correlated))
    layer = on_jax(exact)

    def run(parameters, x):
        called = Layer(layer.settings, parameters)
        return called(x, implementation="streaming", tile=2).output

    shapes = jax.tree.map(lambda x: shape(*x.shape), layer.parameters)
    found = round_trip(run, shapes, shape(2, 5, 6))(layer.parameters, tokens[0])
    expected = exact(tokens[0]).output
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-12)


def test_framework_layer(make_layer, tokens):
    equinox = pytest.importorskip("afa_jax.equinox_layer")
    layer = equinox.AdaptiveFilterAttention.from_layer(on_jax(make_layer("diagonal")))
    found = round_trip(lambda x: layer(x)[0], shape(2, 5, 6))(tokens[0])
    expected = make_layer("diagonal")(tokens[0]).output
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-12)
