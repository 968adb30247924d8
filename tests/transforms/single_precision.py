"""Check attention on JAX with x64 off, in a process of its own."""

import jax
import jax.numpy as jnp
import numpy as np

import afa_core as afa

NOISE = afa.Noise(0.2, 1.0, 1.0)
RNG = np.random.default_rng(0)


def outputs(x, decay, frequency, times, mask):
    """Attention of every form, and streamed in tiles."""
    isotropic = afa.IsotropicSDE(decay, frequency, NOISE)
    radial_tangential = afa.RadialTangentialSDE(decay, frequency, NOISE, NOISE)
    diagonal = afa.DiagonalSDE(decay, frequency, NOISE)
    options = {"key_times": times, "query_times": times, "mask": mask}
    return [
        *(
            afa.attention(x, x, x, sde, **options)
            for sde in (isotropic, radial_tangential, diagonal)
        ),
        afa.attention(x, x, x, isotropic, **options, implementation="streaming", tile=2),
    ]


def check_real(arguments):
    """Compare with NumPy's double precision, and check the dtypes of transforms."""
    x, *rest = (jnp.asarray(each) for each in arguments)

    def loss(x):
        found = outputs(x, *rest)
        return sum((each**2).sum() for each in found), found

    gradient, found = jax.jit(jax.grad(loss, has_aux=True))(x)
    for result, expected in zip(found, outputs(*arguments), strict=True):
        assert result.dtype == jnp.float32
        np.testing.assert_allclose(result, expected, rtol=2e-5, atol=2e-6)
    assert gradient.dtype == jnp.float32
    assert np.isfinite(gradient).all()
    mapped = jax.eval_shape(jax.vmap(lambda x: outputs(x, *rest)), x)
    assert mapped[0].shape == (2, 2, 3, 4)


def check_complex(x):
    """Check that complex tokens stay in single precision."""
    z = jnp.asarray(x[..., :2] + 1j * x[..., 2:])
    sde = afa.IsotropicSDE(0.1, 0.5, NOISE)
    estimate = jax.jit(lambda z: afa.estimate(z, z, z, sde))(z)
    assert estimate.mean.dtype == jnp.complex64
    assert afa.sample(estimate, rng=RNG).dtype == jnp.complex64
    assert afa.predict(estimate.mean, sde, 1.0).dtype == jnp.complex64


def check_long(tokens=6_000):
    """Check the exact filter over so many tokens that a sum over them keeps no small difference.

    Without rotation, since phases of late times are as inexact as these in single precision.
    """
    rng = np.random.default_rng(1)
    value, times = rng.standard_normal((1, tokens, 2)), np.arange(float(tokens))
    sde = afa.IsotropicSDE(0.0, 0.0, NOISE._replace(process=0.5))
    single = jnp.asarray(value, dtype=jnp.float32)
    options = {"weighting": afa.Uniform(), "correlated": True, "implementation": "streaming"}
    found = jax.jit(lambda x: afa.attention(x, x, x, sde, **options))(single)
    model = afa.DiagonalSDE(np.zeros(1), np.zeros(1), sde.noise)
    exact = afa.kalman.filter(value, times, model).mean
    assert np.abs(found - exact).max() < 2e-6 * np.abs(value).max()


if __name__ == "__main__":
    assert not jax.config.jax_enable_x64
    tokens = RNG.standard_normal((2, 3, 4))
    decay, frequency = np.asarray([0.1, 0.4]), np.asarray([0.5, 1.0])
    mask = np.asarray([[True, False, True]] * 3)
    check_real((tokens, decay, frequency, np.arange(3), mask))
    check_complex(tokens)
    check_long()
