"""Least squares with the full covariance is the filter, or the smoother (spec §11)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from afa_conformance.drawing import drawn
from afa_conformance.series import (
    SeriesDescription,
    run_estimator,
    sample_series,
    series_descriptions,
)
from afa_conformance.subject import Subject
from afa_core import kalman


@pytest.mark.many_shapes
@drawn(description=series_descriptions(prior=False, layout=["complex", "real"]))
def test_past_tokens_give_the_filter(subject: Subject, description: SeriesDescription) -> None:
    """Spec §11: GLS with errors that share V(min(Δ_ij, Δ_il)) is the Kalman filter, to 1e-9."""
    series = sample_series(description)
    dense = run_estimator(kalman.batch_mle, series, subject)
    exact = run_estimator(kalman.filter, series, subject)
    subject.assert_close(dense.mean, exact.mean, 1e-9)
    subject.assert_close(dense.variance, exact.variance, 1e-9)


@pytest.mark.many_shapes
@drawn(description=series_descriptions(prior=False, layout=["complex", "real"]))
def test_all_tokens_give_the_smoother(subject: Subject, description: SeriesDescription) -> None:
    """Spec §11: GLS over all tokens is the smoother, to 1e-9: past and future are independent."""
    series = sample_series(description)
    dense = run_estimator(kalman.batch_mle, series, subject, causal=False)
    exact = run_estimator(kalman.smoother, series, subject)
    subject.assert_close(dense.mean, exact.mean, 1e-9)
    subject.assert_close(dense.variance, exact.variance, 1e-9)


@pytest.mark.many_shapes
@pytest.mark.parametrize("changed", ["decay", "measurement"])
@pytest.mark.parametrize("causal", [True, False])
@drawn(description=series_descriptions(prior=False, times="irregular"))
def test_forgotten_and_exact_tokens(
    subject: Subject, causal: bool, changed: str, description: SeriesDescription
) -> None:
    """Spec §11: it is the filter, or smoother, where E² underflows and where η² = 0, to 1e-9."""
    series = sample_series(description)
    if changed == "decay":
        sde = series.sde._replace(decay=1e3 + 0.0 * np.asarray(series.sde.decay))
    else:
        exact = 0.0 * np.asarray(series.sde.noise.measurement)
        sde = series.sde._replace(noise=series.sde.noise._replace(measurement=exact))
    series = replace(series, sde=sde)
    estimator = kalman.filter if causal else kalman.smoother
    with np.errstate(over="ignore"):  # variances of tokens before all measurements
        dense = run_estimator(kalman.batch_mle, series, subject, causal=causal)
        expected = run_estimator(estimator, series, subject)
    subject.assert_close(dense.mean, expected.mean, 1e-9)
    subject.assert_close(dense.variance, expected.variance, 1e-9)


@drawn(
    description=series_descriptions(
        prior=False, gaps=False, decay="zero", tokens=4, layout="complex"
    )
)
def test_random_walks_have_no_direction(subject: Subject, description: SeriesDescription) -> None:
    """Spec §11: at μ = 0, t → −t with ω → −ω mirrors the smoothed estimates, to 1e-9."""
    series = sample_series(description)
    reversed_series = replace(
        series,
        measurements=np.flip(series.measurements, axis=-2),
        times=-np.flip(series.explicit_times),
        sde=series.sde._replace(frequency=-np.asarray(series.sde.frequency)),
    )
    smoothed = run_estimator(kalman.batch_mle, series, subject, causal=False)
    mirrored = run_estimator(kalman.batch_mle, reversed_series, subject, causal=False)
    subject.assert_close(np.flip(mirrored.mean, axis=-2), smoothed.mean, 1e-9)
    subject.assert_close(np.flip(mirrored.variance, axis=-2), smoothed.variance, 1e-9)
