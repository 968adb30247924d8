"""Layers as StableHLO: exported, written, read and called, for one length or for all."""

import numpy as np
import pytest

from afa_core.layer import Layer

jax = pytest.importorskip("jax")
export = pytest.importorskip("jax.export")


@pytest.fixture(autouse=True)
def _double(host):
    host("jax")


def sent(function, *shapes):
    """Return a function that has been bytes meanwhile."""
    exported = export.export(jax.jit(function))(*shapes)
    return export.deserialize(exported.serialize()).call


def on_jax(layer):
    own = {name: jax.numpy.asarray(x) for name, x in layer.parameters.items()}
    return layer._replace(parameters=own)


def shape(*sizes, dtype="float64"):
    return jax.ShapeDtypeStruct(sizes, dtype)


def test_any_length(variant, made, tokens):
    """The reference is exported once for all batches and lengths, with times and masks."""
    layer = made(variant)
    batch, n = export.symbolic_shape("batch, n", constraints=["n >= 2"])

    def run(x, times, real):
        options = {"mask": real[:, None, None, :], "implementation": "reference"}
        return on_jax(layer)(x, query_times=times, **options).output

    shapes = shape(batch, n, 6), shape(batch, n), shape(batch, n, dtype=bool)
    call = sent(run, *shapes)
    x, times, real = tokens
    spoilt = np.where(real[..., None], x, np.nan)
    want = layer(x, query_times=times, key_mask=real).output
    found = np.asarray(call(spoilt, times, real))
    np.testing.assert_allclose(found[real], want[real], rtol=1e-11, atol=1e-12)
    some = x[:1, :3], times[:1, :3], real[:1, :3]
    want = layer(some[0], query_times=some[1]).output
    np.testing.assert_allclose(call(*some), want, rtol=1e-11, atol=1e-12)


def test_any_number_of_other_keys(made, tokens):
    layer = made("isotropic")
    n, m = export.symbolic_shape("n, m")

    def run(x, key, times, key_times, real):
        options = {"query_times": times, "key_times": key_times, "mask": real}
        options |= {"causal": False, "implementation": "reference"}
        return on_jax(layer)(x, key, **options).output

    shapes = shape(n, 6), shape(m, 6), shape(n), shape(m), shape(m, dtype=bool)
    (x, key), (times, key_times), (_, real) = tokens
    want = layer(
        x[:2], key, query_times=times[:2], key_times=key_times, causal=False, key_mask=real
    )
    found = sent(run, *shapes)(x[:2], key, times[:2], key_times, real)
    np.testing.assert_allclose(found, want.output, rtol=1e-11, atol=1e-12)


def test_parameters_as_arguments_and_tiles(made, tokens):
    """A model for one length, whose weights come with every call, may run over tiles."""
    layer = on_jax(made("isotropic"))

    def run(parameters, x):
        own = Layer(layer.settings, parameters)
        return own(x, implementation="streaming", tile=2).output

    described = jax.tree.map(lambda x: shape(*x.shape), layer.parameters)
    found = sent(run, described, shape(2, 5, 6))(layer.parameters, tokens[0])
    want = made("isotropic")(tokens[0]).output
    np.testing.assert_allclose(found, want, rtol=1e-11, atol=1e-12)


def test_framework_layer(made, tokens):
    equinox = pytest.importorskip("afa_jax.equinox_layer")
    layer = equinox.AdaptiveFilterAttention.from_layer(on_jax(made("diagonal")))
    found = sent(lambda x: layer(x)[0], shape(2, 5, 6))(tokens[0])
    want = made("diagonal")(tokens[0]).output
    np.testing.assert_allclose(found, want, rtol=1e-11, atol=1e-12)
