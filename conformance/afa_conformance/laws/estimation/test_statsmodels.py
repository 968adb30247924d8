"""Exact filter and smoother are those of statsmodels, on the flow of the Nile (spec §11)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from afa_conformance.subject import Subject
from afa_core import IsotropicSDE, Noise, kalman

pytestmark = pytest.mark.asserts

TOLERANCE = 1e-8
MEASUREMENT, PROCESS = 15099.0, 1469.1
MEAN = 919.35
GAPS = [*range(20, 40), 60, 99]


@pytest.fixture(scope="module")
def nile() -> NDArray[Any]:
    """Return the flow of each year from 1871 on."""
    pytest.importorskip("statsmodels", reason="statsmodels, which it compares with, is missing")
    from statsmodels.datasets import nile as data

    return np.asarray(data.load_pandas().data["volume"], dtype=float)


def with_gaps(flow: NDArray[Any], *, gaps: bool) -> NDArray[Any]:
    """Return the flow, NaN in the years that are taken as missing if there are `gaps`."""
    return np.where(np.isin(np.arange(flow.size), GAPS), np.nan, flow) if gaps else flow


@dataclass(frozen=True)
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

    def run(self, z: NDArray[Any], times: NDArray[Any], start: str) -> Any:
        """Filter and smooth with statsmodels."""
        from statsmodels.tsa.statespace.kalman_smoother import KalmanSmoother

        lag = np.append(np.diff(times), 1.0)
        model = KalmanSmoother(k_endog=1, k_states=1, nobs=len(z))
        model.bind(z[:, None].copy())
        model["design"] = np.ones((1, 1))
        model["selection"] = np.ones((1, 1))
        model["obs_cov"] = np.full((1, 1), self.measurement)
        model["transition"] = np.exp(-self.decay * lag)[None, None, :]
        variance = -np.expm1(-2.0 * self.decay * lag) * self.stationary
        model["state_cov"] = variance[None, None, :]
        if start == "diffuse":
            model.initialize_diffuse()
        else:
            model.initialize_known(np.zeros(1), np.full((1, 1), self.stationary))
        return model.smooth()


def compare(
    subject: Subject, expected: Any, z: NDArray[Any], times: Any, sde: IsotropicSDE, **options: Any
) -> None:
    """Assert that means, variances and likelihood agree wherever statsmodels has them."""
    arguments = (
        subject.from_numpy(z[:, None]),
        None if times is None else subject.from_numpy(times),
        sde,
    )
    options |= {"observed": subject.from_numpy(~np.isnan(z)[:, None]), "layout": "real"}
    filtered = _fetched(kalman.filter(*arguments, **options), subject)
    smoothed = _fetched(kalman.smoother(*arguments, **options), subject)
    close(filtered["mean"][:, 0], expected.filtered_state[0])
    close(filtered["variance"][:, 0], expected.filtered_state_cov[0, 0])
    known = np.isfinite(filtered["predicted_variance"][:, 0])
    close(filtered["predicted_mean"][known, 0], expected.predicted_state[0, :-1][known])
    close(filtered["predicted_variance"][known, 0], expected.predicted_state_cov[0, 0, :-1][known])
    close(smoothed["mean"][:, 0], expected.smoothed_state[0])
    close(smoothed["variance"][:, 0], expected.smoothed_state_cov[0, 0])
    # statsmodels adds a constant, ½ log 2π, for the measurement that starts a diffuse state
    start = 0.0 if "prior" in options else -0.5 * math.log(2.0 * math.pi)
    close(filtered["log_likelihood"][0] + start, np.sum(expected.llf_obs))


def _fetched(result: Any, subject: Subject) -> dict[str, NDArray[Any]]:
    return {name: np.asarray(subject.to_numpy(x)) for name, x in result._asdict().items()}


def close(actual: Any, expected: Any) -> None:
    np.testing.assert_allclose(actual, expected, rtol=TOLERANCE)


@pytest.mark.many_shapes
@pytest.mark.parametrize("gaps", [False, True], ids=["whole", "gaps"])
def test_local_level(subject: Subject, nile: NDArray[Any], gaps: bool) -> None:
    """Spec §11: a random walk in noise with exact diffuse start: every result to 1e-8."""
    flow = with_gaps(nile, gaps=gaps)
    from statsmodels.tsa.statespace.structural import UnobservedComponents

    model = UnobservedComponents(flow, "local level", use_exact_diffuse=True)
    expected = model.smooth([MEASUREMENT, PROCESS])
    sde = IsotropicSDE(0.0, 0.0, Noise(PROCESS, MEASUREMENT, 0.0))
    for times in (np.arange(1871, 1971), None):
        compare(subject, expected, flow, times, sde)


@pytest.mark.many_shapes
@pytest.mark.parametrize("start", ["diffuse", "stationary"])
@pytest.mark.parametrize("spacing", ["regular", "irregular"])
@pytest.mark.parametrize("gaps", [False, True], ids=["whole", "gaps"])
def test_autoregression(
    subject: Subject, nile: NDArray[Any], gaps: bool, spacing: str, start: str
) -> None:
    """Spec §11: a damped state in noise, sampled at any times: every result to 1e-8."""
    z = with_gaps(nile, gaps=gaps) - MEAN
    model = Autoregression()
    times = np.arange(100.0)
    if spacing == "irregular":
        times = np.cumsum(np.random.default_rng(0).uniform(0.0, 2.0, 100))
    options = {}
    if start == "stationary":
        options["prior"] = kalman.Prior(0.0, model.stationary)
    compare(subject, model.run(z, times, start), z, times, model.sde, **options)


@pytest.mark.many_shapes
def test_published_likelihood(subject: Subject, nile: NDArray[Any]) -> None:
    """Spec §11: Durbin and Koopman's maximum for the Nile, −633.46, to 1e-3.

    Less the constant of the first measurement, ½ log 2π.
    """
    flow = subject.from_numpy(nile[:, None])
    sde = IsotropicSDE(0.0, 0.0, Noise(PROCESS, MEASUREMENT, 0.0))
    filtered = kalman.filter(flow, None, sde, layout="real")
    exact = -633.4646 + 0.5 * math.log(2.0 * math.pi)
    assert float(subject.to_numpy(filtered.log_likelihood)[0]) == pytest.approx(exact, abs=1e-3)
