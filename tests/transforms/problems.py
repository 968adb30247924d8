"""One problem of each form; every number is an array."""

import numpy as np
import pytest

import afa_core as afa

FORMS = ("isotropic", "diagonal", "radial-tangential")
forms = pytest.mark.parametrize("form", FORMS)


def model(form, array, decay=0.3):
    """A model whose parameters are all arrays."""
    rng = np.random.default_rng(1)
    shape = (2,) if form == "diagonal" else ()
    decay = array(np.full(shape, decay))
    frequency = array(rng.standard_normal(2))
    noise = afa.Noise(*(array(rng.uniform(0.5, 1.5, shape)) for _ in range(3)))
    if form == "isotropic":
        return afa.IsotropicSDE(decay, frequency, noise, array(rng.standard_normal(2)))
    if form == "diagonal":
        return afa.DiagonalSDE(decay, frequency, noise)
    tangential = afa.Noise(*(array(rng.uniform(0.5, 1.5, shape)) for _ in range(3)))
    return afa.RadialTangentialSDE(
        decay, frequency, noise, tangential, array(rng.standard_normal(2))
    )


def tokens(array, *leading, n=3, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(array(rng.standard_normal((*leading, n, 4))) for _ in range(3))


def arguments_of(form, array, decay=0.3):
    """The arguments of a problem, every number an array."""
    times = np.asarray([0.0, 0.7, 1.5])
    return {
        "sde": model(form, array, decay),
        "weighting": afa.StudentT(array(np.asarray(3.0))),
        "inverse_temperature": array(np.asarray(0.8)),
        "query_times": array(times + 0.1),
        "key_times": array(times),
        **dict(zip(("query", "key", "value"), tokens(array), strict=True)),
    }
