"""Where attention is the Kalman filter, and where it is over-confident (spec §11)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import afa_core
from afa_conformance.drawing import drawn
from afa_conformance.oracles import textbook
from afa_conformance.series import (
    DrawnSeries,
    SeriesDescription,
    run_estimator,
    sample_series,
    series_descriptions,
)
from afa_conformance.subject import Subject
from afa_core import DiagonalSDE, Noise, Uniform, kalman

COMPLETE = {"gaps": False, "prior": False, "layout": "complex"}


def attend(series: DrawnSeries, subject: Subject) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return mean and variance 1/p of attention to the measurements."""
    z, times = subject.from_numpy(series.measurements), subject.from_numpy(series.explicit_times)
    sde, noise = series.sde, Noise(*(subject.from_numpy(x) for x in series.sde.noise))
    sent = DiagonalSDE(subject.from_numpy(sde.decay), subject.from_numpy(sde.frequency), noise)
    mean, precision = afa_core.estimate(
        z, z, z, sent, weighting=Uniform(), query_times=times, key_times=times
    )
    return subject.to_numpy(mean), 1.0 / subject.to_numpy(precision)


def altered(series: DrawnSeries, **changes: float) -> DrawnSeries:
    """Return the series with noises or the decay multiplied by factors."""
    decay = series.sde.decay * changes.pop("decay", 1.0)
    noise = series.sde.noise._asdict()
    noise |= {name: noise[name] * factor for name, factor in changes.items()}
    return replace(series, sde=series.sde._replace(decay=decay, noise=Noise(**noise)))


@drawn(description=series_descriptions(**COMPLETE))
def test_no_process_and_no_query_noise(subject: Subject, description: SeriesDescription) -> None:
    """Spec §11: at σ² = γ² = 0 mean and 1/p are the filter's, to 1e-11: errors are independent."""
    series = altered(sample_series(description), process=0.0, query=0.0)
    mean, variance = attend(series, subject)
    exact = run_estimator(kalman.filter, series, subject)
    subject.assert_close(mean, exact.mean, 1e-11)
    subject.assert_close(variance, exact.variance, 1e-11)


@drawn(description=series_descriptions(**COMPLETE))
def test_constant_state(subject: Subject, description: SeriesDescription) -> None:
    """Spec §11: at σ² = μ = 0 both are the running average, to 1e-11.

    1/p is the filter's variance plus γ² over the number of tokens.
    """
    series = altered(sample_series(description), process=0.0, decay=0.0)
    mean, variance = attend(series, subject)
    exact = run_estimator(kalman.filter, series, subject)
    subject.assert_close(mean, exact.mean, 1e-11)
    count = np.arange(1.0, description.tokens + 1.0)[:, None]
    subject.assert_close(variance, exact.variance + series.sde.noise.query / count, 1e-11)


@drawn(description=series_descriptions(**COMPLETE))
def test_at_most_one_past_token(subject: Subject, description: SeriesDescription) -> None:
    """Spec §11: at γ² = 0 the first two means and variances 1/p are the filter's, to 1e-11."""
    series = altered(sample_series(description), query=0.0)
    mean, variance = attend(series, subject)
    exact = run_estimator(kalman.filter, series, subject)
    subject.assert_close(mean[..., :2, :], exact.mean[..., :2, :], 1e-11)
    subject.assert_close(variance[..., :2, :], exact.variance[..., :2, :], 1e-11)


@pytest.mark.asserts
@drawn(description=series_descriptions(**COMPLETE, process="ordinary", times="irregular", tokens=4))
def test_overconfident_elsewhere(subject: Subject, description: SeriesDescription) -> None:
    """Spec §11: at γ² = 0, 1/p < the filter's variance ≤ the true variance of attention's estimate.

    From the third token on, where the means differ by more than 1e-9.
    """
    series = altered(sample_series(description), query=0.0)
    mean, variance = attend(series, subject)
    exact = run_estimator(kalman.filter, series, subject)
    assert np.all(variance[..., 2:, :] < exact.variance[..., 2:, :])
    assert np.all(np.abs(mean - exact.mean)[..., 2:, :] > 1e-9)
    for (*own, k), mode in textbook.modes(series):
        for i in range(2, description.tokens):
            true = _true_variance(mode, i)
            assert exact.variance[(*own, i, k)] <= true * (1.0 + 1e-12)
            assert variance[(*own, i, k)] < true


@pytest.mark.parametrize("query", [0.0, 0.7])
def test_precision_uses_the_diagonal_covariance(subject: Subject, query: float) -> None:
    """Spec §11: p = Σ_j 1/Σ_j, with only the diagonal of the errors' covariance, to 1e-11."""
    series = altered(sample_series(SeriesDescription()), query=query)
    _, variance = attend(series, subject)
    for (k,), mode in textbook.modes(series):
        sigma = np.diag(_error_covariance(mode, 3)) + series.sde.noise.query[k]
        subject.assert_close(variance[3, k], 1.0 / np.sum(1.0 / sigma), 1e-11)


def _error_covariance(mode: textbook.ScalarMode, i: int) -> NDArray[Any]:
    """Return Cov of the errors of ẑ_ij, ẑ_il: V(min(Δ_ij, Δ_il)) + δ η²E²."""
    lags = mode.times[i] - mode.times[: i + 1]
    shared = [[textbook.propagated(mode, min(s, t)) for s in lags] for t in lags]
    independent = [mode.measurement * abs(textbook.transition(mode, s)) ** 2 for s in lags]
    return np.asarray(shared) + np.diag(independent)


def _true_variance(mode: textbook.ScalarMode, i: int) -> float:
    """Return the variance of the estimate that weighs by the diagonal alone."""
    covariance = _error_covariance(mode, i)
    weights = 1.0 / np.diag(covariance)
    weights /= np.sum(weights)
    return float(weights @ covariance @ weights)
