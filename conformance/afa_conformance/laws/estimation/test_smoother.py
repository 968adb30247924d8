"""The smoother is the best estimate from past and future together (spec §11)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from afa_conformance.drawing import drawn
from afa_conformance.oracles import textbook
from afa_conformance.series import (
    SeriesDescription,
    run_estimator,
    sample_series,
    series_descriptions,
)
from afa_conformance.subject import Subject
from afa_core import kalman

INFORMATIVE = {"process": "ordinary", "times": ["irregular", "default"]}


@pytest.mark.parametrize("method", ["scan", "sequential"])
@drawn(description=series_descriptions(**INFORMATIVE))
def test_information_smoother(
    subject: Subject, method: str, description: SeriesDescription
) -> None:
    """Spec §13: means and variances of the tridiagonal joint precision of all states, to 1e-9.

    Without measurement or prior the mean is 0 and the variance infinite.
    """
    series = sample_series(description)
    actual = run_estimator(kalman.smoother, series, subject, method=method)
    for (*own, k), mode in textbook.modes(series):
        at = (*own, slice(None), k)
        if not (mode.present.any() or description.prior):
            assert np.all(np.isinf(actual.variance[at]))
            assert not np.any(actual.mean[at])
            continue
        mean, variance = textbook.information_smoother(mode, description.tokens)
        subject.assert_close(actual.mean[at], mean, 1e-9)
        subject.assert_close(actual.variance[at], variance, 1e-9)


@drawn(description=series_descriptions(**INFORMATIVE))
def test_filter_is_its_last_node(subject: Subject, description: SeriesDescription) -> None:
    """Spec §13: the filter is the information smoother at its last node, to 1e-9."""
    series = sample_series(description)
    actual = run_estimator(kalman.filter, series, subject)
    for (*own, k), mode in textbook.modes(series):
        for i in range(description.tokens):
            if not (mode.present[: i + 1].any() or description.prior):
                continue
            mean, variance = textbook.information_smoother(mode, i + 1)
            subject.assert_close(actual.mean[(*own, i, k)], mean[i], 1e-9, scale=1.0 + abs(mean[i]))
            subject.assert_close(actual.variance[(*own, i, k)], variance[i], 1e-9)


@drawn(description=series_descriptions(gaps=False))
def test_past_and_future_combine(subject: Subject, description: SeriesDescription) -> None:
    """Spec §11: precisions of past and future add up, to 1e-9.

    Also with tied times and without process noise.
    """
    series = sample_series(description)
    past = run_estimator(kalman.filter, series, subject)
    both = run_estimator(kalman.smoother, series, subject)
    for (*own, k), mode in textbook.modes(series):
        for i, (score, precision) in enumerate(textbook.future_information(mode)):
            at = (*own, i, k)
            variance = 1.0 / (1.0 / past.variance[at] + precision)
            mean = variance * (past.mean[at] / past.variance[at] + score)
            subject.assert_close(both.variance[at], variance, 1e-9)
            subject.assert_close(both.mean[at], mean, 1e-9, scale=1.0 + abs(mean))


@drawn(description=series_descriptions(process="zero"))
def test_states_without_process_noise(subject: Subject, description: SeriesDescription) -> None:
    """Spec §11: at σ² = 0 smoothed states are propagated ones, e^{λΔ}x and e^{−2μΔ}P, to 1e-10."""
    series = sample_series(description)
    actual = run_estimator(kalman.smoother, series, subject)
    for (*own, k), mode in textbook.modes(series):
        at = (*own, slice(None), k)
        mean, variance = actual.mean[at], actual.variance[at]
        for i in range(1, description.tokens):
            f = textbook.transition(mode, mode.times[i] - mode.times[i - 1])
            subject.assert_close(mean[i], f * mean[i - 1], 1e-10, scale=1.0 + abs(mean[i]))
            subject.assert_close(variance[i], abs(f) ** 2 * variance[i - 1], 1e-10)


def test_extreme_lags(subject: Subject) -> None:
    """Spec §11: tokens far beyond the memory of the state are independent, to 1e-12.

    Their covariance e^{−2μΔ}P goes through all subnormal numbers to zero.
    """
    series = sample_series(SeriesDescription(tokens=3))
    slowest = float(np.min(series.sde.decay))
    for process in (series.sde.noise.process, np.zeros(2)):
        sde = series.sde._replace(noise=series.sde.noise._replace(process=process))
        for exponent in (*np.linspace(30.0, 60.0, 7), *np.linspace(345.0, 385.0, 17), 1e4):
            far = replace(series, times=exponent / slowest * np.arange(3.0), sde=sde)
            actual = run_estimator(kalman.smoother, far, subject)
            subject.assert_close(actual.mean[0], series.measurements[0], 1e-12)
            subject.assert_close(actual.variance[0], series.sde.noise.measurement, 1e-12)


def test_known_state_stays_known(subject: Subject) -> None:
    """Spec §11: without process noise, a prior of variance 0 keeps mean (to 1e-14) and variance."""
    series = sample_series(SeriesDescription(process="zero", prior=True))
    assert series.prior is not None
    known = replace(series, prior=series.prior._replace(variance=np.zeros(2)))
    actual = run_estimator(kalman.smoother, known, subject)
    subject.assert_close(actual.mean[0], np.asarray(series.prior.mean), 1e-14)
    assert not np.any(actual.variance)
