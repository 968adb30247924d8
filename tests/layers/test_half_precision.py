"""What a layer does with tokens in half precision is computed in single precision (spec §8.5)."""

import numpy as np
import pytest

from afa_core._array.arrays import namespace
from afa_core.layer import Settings
from afa_core.layer.projections import append_mode, gated, rms_normalise
from afa_core.model.sde import RadialTangential

EPS = {"float16": 2.0**-10, "bfloat16": 2.0**-7}
CHOICES = [
    ("numpy", "float16"),
    *((name, dtype) for name in ("torch", "jax") for dtype in ("float16", "bfloat16")),
]


@pytest.fixture(params=CHOICES, ids="-".join)
def half(request, host):
    """Convert a NumPy array to half precision of each library; give its numbers and its ε too."""
    name, dtype = request.param
    backend = host(name)

    def convert(x):
        narrow = backend.from_numpy(x.astype(np.float32))
        xp = namespace(x=narrow)
        narrow = xp.astype(narrow, getattr(xp, dtype))
        return narrow, exact(narrow)

    def exact(x):
        xp = namespace(x=x)
        assert x.dtype == getattr(xp, dtype)
        return backend.to_numpy(xp.astype(x, xp.float32)).astype(np.float64)

    return convert, exact, EPS[dtype]


def random(*shape):
    return np.random.default_rng(0).standard_normal(shape)


@pytest.mark.parametrize("size", [1.0, 2.0**8, 2.0**10, 2.0**13])
def test_normalised_tokens_are_independent_of_their_size(half, size):
    convert, exact, eps = half
    tokens, x = convert(size * random(2, 5, 6))
    gain, gains = convert(np.linspace(0.5, 2.0, 6).reshape(2, 3))
    settings = Settings(features=6, heads=2, modes=3, value_modes=3)
    found = exact(rms_normalise(tokens, gain, settings, xp=namespace(x=tokens)))
    root = np.sqrt(2.0 * np.mean(x**2, axis=-1, keepdims=True))
    expected = x / root * np.repeat(gains, 2, -1)[:, None]
    assert np.all(abs(found - expected) <= 0.75 * eps * abs(expected))


@pytest.mark.parametrize("radius", [1.0, 300.0, 2.0**14])
def test_appended_modes_give_keys_one_length(half, radius):
    convert, exact, eps = half
    x = random(1, 40, 6)
    lengths = np.linspace(0.0, 0.99 * radius, 40)[:, None]
    key, _ = convert(x / np.linalg.norm(x, axis=-1, keepdims=True) * lengths)
    xp = namespace(x=key)
    radii = xp.astype(convert(np.full(1, radius))[0], xp.float32)
    settings = Settings(features=6, heads=1, modes=3, value_modes=3, sphere=True)
    found = exact(append_mode(key, radii, settings, xp=xp))
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), radius, rtol=0.5 * eps)


@pytest.mark.parametrize("size", [1.0, 2.0**13])
def test_gated_estimates_are_rounded_once(half, size):
    """v + g_r u(u†e) + g_t (e − u(u†e)) with e = x̂ − v and u = v/‖v‖."""
    convert, exact, eps = half
    mean, x = convert(size * random(2, 5, 6))
    own, v = convert(size * random(3, 2, 5, 6)[1])
    xp = namespace(x=mean)
    ratios = 0.5, 3.0  # p/p₀ of the radial and the tangential part, exact in half precision
    prior, *precision = (
        xp.astype(convert(np.full(shape, ratio))[0], xp.float32)
        for shape, ratio in (((2,), 1.0), *(((2, 5), each) for each in ratios))
    )
    settings = Settings(6, 2, 3, 3, form="radial_tangential", constraint="absolute", gated=True)
    parameters = {"raw_prior_precision": prior}
    precision = RadialTangential(*precision)
    found = exact(gated(parameters, settings, mean, precision, own, xp=xp))
    x, v = (y[..., ::2] + 1j * y[..., 1::2] for y in (x, v))
    u = v / np.linalg.norm(v, axis=-1, keepdims=True)
    radial = u * np.sum(u.conj() * (x - v), axis=-1, keepdims=True)
    shares = [each / (1.0 + each) for each in ratios]
    expected = v + shares[0] * radial + shares[1] * (x - v - radial)
    expected = np.stack([expected.real, expected.imag], axis=-1).reshape(found.shape)
    assert np.all(abs(found - expected) <= 0.5 * eps * abs(expected) + 1e-5 * size)
