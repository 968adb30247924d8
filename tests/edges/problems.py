"""Small models of each form, and tokens, in any array library."""

import numpy as np
import pytest

import afa_core as afa

LIBRARIES = ("numpy", "torch", "jax", "array_api_strict")
FORMS = ("isotropic", "diagonal", "radial-tangential")
NOISE = afa.Noise(0.2, 1.0, 1.0)

# JAX compiles each of them, which takes long: one form is enough for it here.
forms = pytest.mark.parametrize(
    ("library", "form"),
    [(name, form) for name in LIBRARIES for form in FORMS[: 1 if name == "jax" else 3]],
    indirect=["library"],
)


def models(backend, modes=2):
    frequency = backend.from_numpy(np.linspace(0.5, 1.0, modes))
    decay = backend.from_numpy(np.linspace(0.1, 0.4, modes))
    return {
        "isotropic": afa.IsotropicSDE(0.1, frequency, NOISE),
        "diagonal": afa.DiagonalSDE(decay, frequency, NOISE),
        "radial-tangential": afa.RadialTangentialSDE(0.1, frequency, NOISE, NOISE),
    }


def normal(backend, *shape, seed=0):
    return backend.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def anchored(sde, anchor):
    return {"anchor": anchor} if isinstance(sde, afa.RadialTangentialSDE) else {}


def leaves(precision):
    return precision if isinstance(precision, afa.RadialTangential) else [precision]
