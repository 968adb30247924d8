"""`sharded_attention` takes the arrays of JAX alone, and changes none of their numbers."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

import afa_core as afa
from afa_jax import sharded_attention

TOKENS = 7
SDE = afa.IsotropicSDE(0.1, 0.3, afa.Noise(0.1, 1.0, 1.0))
STAMPS = 1_700_000_000 + np.arange(TOKENS)

sharded = partial(
    sharded_attention, mesh=Mesh(np.asarray(jax.devices()[:1]), ("r",)), axis_name="r"
)


def tokens():
    return jnp.asarray(np.random.default_rng(0).standard_normal((3, 2, TOKENS, 4)), jnp.float32)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("query", np.ones((2, TOKENS, 4))),
        ("value", np.ones((2, TOKENS, 4))),
        ("query_times", STAMPS.astype(float)),
        ("key_times", STAMPS.astype(float)),
        ("key_mask", np.ones(TOKENS, bool)),
    ],
)
def test_arrays_of_numpy_are_refused(name, given):
    """In float32, times near 1.7e9 would all be the same."""
    arguments = dict(zip(("query", "key", "value"), tokens(), strict=True)) | {name: given}
    with pytest.raises(TypeError, match=r"must come from the same array library"):
        sharded(**arguments, sde=SDE)


def test_arrays_of_numpy_alone_are_refused():
    x = np.ones((2, TOKENS, 4))
    with pytest.raises(TypeError, match="`query` must come from the library of `mesh`"):
        sharded(x, x, x, SDE)


@pytest.mark.parametrize("options", [{}, {"causal": False}], ids=["defaults", "integer times"])
def test_arrays_of_jax_give_the_results_of_attention(options):
    if options:
        options = options | {"query_times": jnp.asarray(STAMPS, jnp.int32)}
    expected = afa.attention(*tokens(), SDE, **options, implementation="reference")
    found = jax.jit(partial(sharded, sde=SDE, **options))(*tokens())
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6)
