"""Where attention is the Kalman filter, and how far it is over-confident elsewhere (spec §11)."""

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

PLAIN = {"gaps": False, "prior": False, "layout": "complex"}


def attend(series: DrawnSeries, subject: Subject) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return mean and claimed variance 1/p of attention to the measurements themselves."""
    z, times = subject.from_numpy(series.measurements), subject.from_numpy(series.clock)
    sde, noise = series.sde, Noise(*(subject.from_numpy(x) for x in series.sde.noise))
    sent = DiagonalSDE(subject.from_numpy(sde.decay), subject.from_numpy(sde.frequency), noise)
    mean, precision = afa_core.estimate(
        z, z, z, sent, weighting=Uniform(), query_times=times, key_times=times
    )
    return subject.to_numpy(mean), 1.0 / subject.to_numpy(precision)


def altered(series: DrawnSeries, **changes: float) -> DrawnSeries:
    """Return the series with noises or the decay multiplied."""
    decay = series.sde.decay * changes.pop("decay", 1.0)
    noise = series.sde.noise._asdict()
    noise |= {name: noise[name] * factor for name, factor in changes.items()}
    return replace(series, sde=series.sde._replace(decay=decay, noise=Noise(**noise)))


@drawn(it=series_descriptions(**PLAIN))
def test_no_process_and_no_query_noise(subject: Subject, it: SeriesDescription) -> None:
    """σ² = γ² = 0: errors are independent, mean and variance coincide."""
    series = altered(sample_series(it), process=0.0, query=0.0)
    mean, variance = attend(series, subject)
    exact = run_estimator(kalman.filter, series, subject)
    subject.assert_close(mean, exact.mean, 1e-11)
    subject.assert_close(variance, exact.variance, 1e-11)


@drawn(it=series_descriptions(**PLAIN))
def test_constant_state(subject: Subject, it: SeriesDescription) -> None:
    """σ² = μ = 0: both are the running average, even with γ²; 1/p then contains γ²."""
    series = altered(sample_series(it), process=0.0, decay=0.0)
    mean, variance = attend(series, subject)
    exact = run_estimator(kalman.filter, series, subject)
    subject.assert_close(mean, exact.mean, 1e-11)
    count = np.arange(1.0, it.tokens + 1.0)[:, None]
    subject.assert_close(variance, exact.variance + series.sde.noise.query / count, 1e-11)


@drawn(it=series_descriptions(**PLAIN))
def test_at_most_one_past_token(subject: Subject, it: SeriesDescription) -> None:
    """γ² = 0: the first two estimates coincide, since a token's own error shares nothing."""
    series = altered(sample_series(it), query=0.0)
    mean, variance = attend(series, subject)
    exact = run_estimator(kalman.filter, series, subject)
    subject.assert_close(mean[..., :2, :], exact.mean[..., :2, :], 1e-11)
    subject.assert_close(variance[..., :2, :], exact.variance[..., :2, :], 1e-11)


@drawn(it=series_descriptions(**PLAIN, process="ordinary", times="irregular", tokens=4))
def test_overconfident_elsewhere(subject: Subject, it: SeriesDescription) -> None:
    """γ² = 0: claimed variance < the filter's ≤ the true variance of attention's estimate."""
    series = altered(sample_series(it), query=0.0)
    mean, claimed = attend(series, subject)
    exact = run_estimator(kalman.filter, series, subject)
    assert np.all(claimed[..., 2:, :] < exact.variance[..., 2:, :])
    assert np.all(np.abs(mean - exact.mean)[..., 2:, :] > 1e-9)
    for (*own, k), mode in textbook.modes(series):
        for i in range(2, it.tokens):
            true = _true_variance(mode, i)
            assert exact.variance[(*own, i, k)] <= true * (1.0 + 1e-12)
            assert claimed[(*own, i, k)] < true


@pytest.mark.parametrize("query", [0.0, 0.7])
def test_claim_is_the_diagonal(subject: Subject, query: float) -> None:
    """The claim 1/p keeps the diagonal Σ of the errors' covariance and nothing else."""
    series = altered(sample_series(SeriesDescription()), query=query)
    _, claimed = attend(series, subject)
    for (k,), mode in textbook.modes(series):
        sigma = np.diag(_error_covariance(mode, 3)) + series.sde.noise.query[k]
        subject.assert_close(claimed[3, k], 1.0 / np.sum(1.0 / sigma), 1e-11)


def _error_covariance(mode: textbook.ScalarMode, i: int) -> NDArray[Any]:
    """Return Cov of the errors of ẑ_ij, ẑ_il: V(min(Δ_ij, Δ_il)) + δ η²E²."""
    lags = mode.times[i] - mode.times[: i + 1]
    shared = [[textbook.propagated(mode, min(s, t)) for s in lags] for t in lags]
    own = [mode.measurement * abs(textbook.transition(mode, s)) ** 2 for s in lags]
    return np.asarray(shared) + np.diag(own)


def _true_variance(mode: textbook.ScalarMode, i: int) -> float:
    """Return the variance of the estimate that weighs by the diagonal alone."""
    covariance = _error_covariance(mode, i)
    weights = 1.0 / np.diag(covariance)
    weights /= np.sum(weights)
    return float(weights @ covariance @ weights)
