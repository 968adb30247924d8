"""Attention with a window: no keys, single precision, compilers, the exact filter."""

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


@pytest.mark.parametrize("weighting", [afa.Uniform(), afa.Rational(4.0)])
def test_no_visible_keys(weighting):
    options = {"weighting": weighting, "mask": np.zeros(64, bool), "window": 8}
    for correlated in (False, True):
        options["correlated"] = correlated
        np.testing.assert_array_equal(afa.windowed_attention(X, X, X, SDE, **options), 0.0)
        np.testing.assert_array_equal(afa.window_error(X, X, X, SDE, **options), 0.0)


@pytest.mark.parametrize("weighting", [afa.Uniform(), afa.Rational(4.0)])
def test_numbers_of_queries_and_keys_differ(weighting):
    """Later queries than keys see them all; of more keys than queries only the window counts."""
    options = {"weighting": weighting, "correlated": True}
    few = afa.windowed_attention(X[-5:], X, X, SDE, window=64, **options)
    expected = afa.attention(X[-5:], X, X, SDE, **options)
    np.testing.assert_allclose(few, expected, atol=1e-14)
    few = afa.windowed_attention(X[-5:], X, X, SDE, window=8, tile=8, **options)
    error = np.linalg.norm(few - expected, axis=-1)
    assert 0.0 < np.max(error) <= afa.window_error(X[-5:], X, X, SDE, window=8, **options)
    times = np.arange(64.0)
    options |= {"query_times": times, "key_times": times[:20] - 20.0}
    many = afa.windowed_attention(X, X[:20], X[:20], SDE, window=20, tile=4, **options)
    expected = afa.attention(X, X[:20], X[:20], SDE, **options)
    np.testing.assert_allclose(many, expected, atol=1e-14)
    np.testing.assert_array_equal(many[:44], 0.0)


@pytest.mark.parametrize("weighting", [afa.Uniform(), afa.Rational(4.0)])
def test_keys_without_noise(weighting):
    """The last visible key alone, however many came before it."""
    sde = SDE._replace(noise=afa.Noise(0.2, 0.0, 1.0))
    mask = np.random.default_rng(2).uniform(size=64) < 0.5
    options = {"weighting": weighting, "mask": mask, "correlated": True}
    found = afa.windowed_attention(X, X, X, sde, window=8, tile=4, **options)
    np.testing.assert_allclose(found, afa.attention(X, X, X, sde, **options), atol=1e-14)
    assert np.max(afa.window_error(X, X, X, sde, window=40, **options)) == 0.0


@pytest.mark.parametrize("weighting", [afa.Uniform(), afa.Rational(4.0)])
def test_single_precision_of_correlated_keys(weighting):
    """C falls to −1,500 over the sequence, its differences lose no digits."""
    rng = np.random.default_rng(1)
    query, key, value = rng.standard_normal((3, 6_000, 4))
    sde = afa.IsotropicSDE(0.01, 0.0, afa.Noise(0.08, 1.0, 0.5))
    options = {"weighting": weighting, "correlated": True, "window": 100}
    exact = afa.windowed_attention(query, key, value, sde, **options)
    single = [x.astype(np.float32) for x in (query, key, value)]
    tolerance = 2e-6 * np.max(np.abs(value))
    found = afa.windowed_attention(*single, sde, **options)
    np.testing.assert_allclose(found, exact, atol=tolerance)
    with jax.enable_x64(False):  # no double precision at all
        attend = jax.jit(lambda *x: afa.windowed_attention(*x, sde, **options))
        found = attend(*map(jnp.asarray, single))
    np.testing.assert_allclose(found, exact, atol=tolerance)


def test_filter_of_a_long_sequence():
    """Gain 1/50 in the steady state, 100,000 tokens: the filter within the bound, and 1e-6."""
    gain, decay = 0.02, 0.01
    gained = gain * (1.0 / (1.0 - gain) - np.exp(-2.0 * decay))  # V, of η² = 1
    noise = afa.Noise(gained * 2.0 * decay / -np.expm1(-2.0 * decay), 1.0, 1.0)
    sde = afa.IsotropicSDE(decay, np.asarray([0.3]), noise)
    z = np.random.default_rng(3).standard_normal((100_000, 2))
    options = {"weighting": afa.Uniform(), "correlated": True, "window": 850}
    found = afa.windowed_attention(z, z, z, sde, **options)
    bound = afa.window_error(z, z, z, sde, **options)
    error = np.linalg.norm(found - afa.kalman.filter(z, None, sde).mean, axis=-1)
    assert np.max(error) <= bound < 1e-6


@pytest.mark.parametrize(
    ("weighting", "correlated"),
    [(afa.StudentT(4.0), False), (afa.Rational(4.0), True), (afa.Uniform(), True)],
)
def test_compiled_results_are_those_of_eager_mode(weighting, correlated):
    """Under jax.jit and torch.compile: parameters, hidden keys, variances of queries."""
    single = X.astype(np.float32)
    mask, variance = np.arange(64) % 3 > 0, np.linspace(0.5, 2.0, 64, dtype=np.float32)

    def attend(x, rate, mask, variance):
        sde = afa.IsotropicSDE(rate, rate, NOISE)
        options = {"mask": mask, "query_variance": variance, "correlated": correlated}
        return afa.windowed_attention(
            x, x, x, sde, weighting=weighting, window=8, tile=4, **options
        )

    arrays = single, np.asarray(0.5, np.float32), mask, variance
    exact = attend(*arrays)
    tolerance = 2e-6 * np.max(np.abs(exact))
    found = jax.jit(attend)(*map(jnp.asarray, arrays))
    np.testing.assert_allclose(found, exact, atol=tolerance)
    compiled = torch.compile(attend, fullgraph=True, backend="aot_eager")
    np.testing.assert_allclose(compiled(*map(torch.asarray, arrays)), exact, atol=tolerance)
