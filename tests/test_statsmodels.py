"""The exact filter and smoother against statsmodels, on the annual flow of the Nile."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from statsmodels.datasets import nile
from statsmodels.tsa.statespace.kalman_smoother import KalmanSmoother
from statsmodels.tsa.statespace.structural import UnobservedComponents

from afa_core import IsotropicSDE, Noise, kalman

TOLERANCE = 1e-8
MEASUREMENT, PROCESS = 15099.0, 1469.1
MEAN = 919.35

FLOW = nile.load_pandas().data["volume"].to_numpy(dtype=float)
GAPPED = np.where(np.isin(np.arange(100), [*range(20, 40), 60, 99]), np.nan, FLOW)


@dataclass
class Autoregression:
    """x' = φx + N(0, q), z = x + N(0, η²), sampled at any times."""

    decay: float = 0.25
    process: float = 9000.0
    measurement: float = 7000.0

    @property
    def sde(self) -> IsotropicSDE:
        return IsotropicSDE(self.decay, 0.0, Noise(self.process, self.measurement, 0.0))

    @property
    def stationary(self) -> float:
        return self.process / (2.0 * self.decay)

    def run(self, z: np.ndarray, times: np.ndarray, start: str) -> Any:
        """Filter and smooth with statsmodels."""
        lag = np.append(np.diff(times), 1.0)
        model = KalmanSmoother(k_endog=1, k_states=1, nobs=len(z))
        model.bind(z[:, None].copy())
        model["design"] = np.ones((1, 1))
        model["selection"] = np.ones((1, 1))
        model["obs_cov"] = np.full((1, 1), self.measurement)
        model["transition"] = np.exp(-self.decay * lag)[None, None, :]
        gained = -np.expm1(-2.0 * self.decay * lag) * self.stationary
        model["state_cov"] = gained[None, None, :]
        if start == "diffuse":
            model.initialize_diffuse()
        else:
            model.initialize_known(np.zeros(1), np.full((1, 1), self.stationary))
        return model.smooth()


def compare(expected: Any, z: np.ndarray, times: Any, sde: IsotropicSDE, **options: Any) -> None:
    """Assert that means, variances and likelihood agree wherever statsmodels has them."""
    observed = ~np.isnan(z)[:, None]
    arguments = (z[:, None], times, sde)
    options |= {"observed": observed, "layout": "real"}
    fit = kalman.filter(*arguments, **options)
    smooth = kalman.smoother(*arguments, **options)
    close(fit.mean[:, 0], expected.filtered_state[0])
    close(fit.variance[:, 0], expected.filtered_state_cov[0, 0])
    known = np.isfinite(fit.predicted_variance[:, 0])
    close(fit.predicted_mean[known, 0], expected.predicted_state[0, :-1][known])
    close(fit.predicted_variance[known, 0], expected.predicted_state_cov[0, 0, :-1][known])
    close(smooth.mean[:, 0], expected.smoothed_state[0])
    close(smooth.variance[:, 0], expected.smoothed_state_cov[0, 0])
    # statsmodels counts a constant, ½ log 2π, for the measurement that starts a diffuse state.
    start = 0.0 if "prior" in options else -0.5 * math.log(2.0 * math.pi)
    close(fit.log_likelihood[0] + start, np.sum(expected.llf_obs))


def close(actual: Any, expected: Any) -> None:
    np.testing.assert_allclose(actual, expected, rtol=TOLERANCE)


@pytest.mark.parametrize("flow", [FLOW, GAPPED], ids=["whole", "gaps"])
def test_local_level(flow: np.ndarray) -> None:
    """A random walk in noise, exact diffuse start, at the published variances."""
    model = UnobservedComponents(flow, "local level", use_exact_diffuse=True)
    expected = model.smooth([MEASUREMENT, PROCESS])
    sde = IsotropicSDE(0.0, 0.0, Noise(PROCESS, MEASUREMENT, 0.0))
    compare(expected, flow, np.arange(1871, 1971), sde)
    compare(expected, flow, None, sde)


@pytest.mark.parametrize("start", ["diffuse", "stationary"])
@pytest.mark.parametrize("spacing", ["regular", "irregular"])
@pytest.mark.parametrize("flow", [FLOW, GAPPED], ids=["whole", "gaps"])
def test_autoregression(flow: np.ndarray, spacing: str, start: str) -> None:
    """A damped state in noise."""
    model = Autoregression()
    times = np.arange(100.0)
    if spacing == "irregular":
        times = np.cumsum(np.random.default_rng(0).uniform(0.0, 2.0, 100))
    options = {}
    if start == "stationary":
        options["prior"] = kalman.Prior(0.0, model.stationary)
    z = flow - MEAN
    compare(model.run(z, times, start), z, times, model.sde, **options)


def test_published_likelihood() -> None:
    """Durbin and Koopman's maximum for the Nile, −633.46, less the constant of the first flow."""
    sde = IsotropicSDE(0.0, 0.0, Noise(PROCESS, MEASUREMENT, 0.0))
    fit = kalman.filter(FLOW[:, None], None, sde, layout="real")
    assert fit.log_likelihood[0] == pytest.approx(
        -633.4646 + 0.5 * math.log(2.0 * math.pi), abs=1e-3
    )
