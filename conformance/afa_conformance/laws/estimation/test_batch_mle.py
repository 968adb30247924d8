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
