"""Priors of the Kalman filter that some modes have and others have not."""

import numpy as np
import pytest

from afa_core import DiagonalSDE, Noise, kalman


@pytest.mark.parametrize("method", ["scan", "sequential"])
@pytest.mark.parametrize("estimator", [kalman.filter, kalman.smoother])
def test_a_mode_of_infinite_variance_starts_without_a_prior(estimator, method):
    """Spec §11: it has the estimates of a diffuse start, whatever its mean; others keep theirs."""
    rng = np.random.default_rng(0)
    values, times = rng.standard_normal((20, 3)), np.cumsum(rng.exponential(size=20))
    sde = DiagonalSDE(np.asarray([0.3, 0.0, 0.2]), 0.0, Noise(0.5, 0.7, 0.0))
    observed = rng.random((20, 3)) < 0.7
    observed[0] = False
    mean, diffuse = np.asarray([1.0, 5.0, -2.0]), np.asarray([False, True, False])

    def found(prior):
        options = {"observed": observed, "layout": "real", "method": method}
        return estimator(values, times, sde, prior=prior, **options)

    without = found(None)
    given = found(kalman.Prior(mean, 0.4))
    mixed = found(kalman.Prior(mean, np.where(diffuse, np.inf, 0.4)))
    for one, first, second in zip(mixed, without, given, strict=True):
        np.testing.assert_allclose(one, np.where(diffuse, first, second), rtol=1e-12)
