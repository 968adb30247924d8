"""Attention with a window: no keys, single precision, compilers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import afa_core as afa

NOISE = afa.Noise(0.2, 1.0, 1.0)
SDE = afa.IsotropicSDE(0.1, 0.5, NOISE)
X = np.random.default_rng(0).standard_normal((64, 4))


def test_no_keys():
    found = afa.windowed_attention(X, X[:0], X[:0], SDE, window=8)
    np.testing.assert_array_equal(found, np.zeros_like(X))
    assert afa.window_error(X, X[:0], X[:0], SDE, window=8) == 0.0


@pytest.mark.parametrize("decay", [0.02, 0.1, 10.0])
def test_single_precision(decay):
    """As close to double precision as exact attention is, whether far keys matter or not."""
    rng = np.random.default_rng(1)
    query, key, value = rng.standard_normal((3, 2, 2000, 16))
    sde = afa.IsotropicSDE(decay, rng.standard_normal(8), afa.Noise(0.2, 1.0, 0.5))
    exact = afa.attention(query, key, value, sde)
    single = [x.astype(np.float32) for x in (query, key, value)]
    found = afa.windowed_attention(*single, sde, window=800)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, exact, atol=2e-6 * np.max(np.abs(exact)))


def test_compiled_results_are_those_of_eager_mode():
    sde = afa.IsotropicSDE(jnp.asarray(0.5), jnp.asarray(0.5), NOISE)
    single = X.astype(np.float32)
    exact = afa.windowed_attention(
        single, single, single, SDE._replace(decay=0.5), window=8, tile=4
    )

    def attend(x, sde):
        return afa.windowed_attention(x, x, x, sde, window=8, tile=4)

    tolerance = 2e-6 * np.max(np.abs(exact))
    np.testing.assert_allclose(jax.jit(attend)(jnp.asarray(single), sde), exact, atol=tolerance)
    sde = afa.IsotropicSDE(torch.tensor(0.5), torch.tensor(0.5), NOISE)
    compiled = torch.compile(attend, fullgraph=True)
    np.testing.assert_allclose(compiled(torch.from_numpy(single), sde), exact, atol=tolerance)
