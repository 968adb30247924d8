"""Reweighting converges to a mode of normal prediction times Student-t measurement (spec §11)."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, reject
from hypothesis import strategies as st

from afa_conformance.drawing import drawn
from afa_conformance.series import (
    DrawnSeries,
    SeriesDescription,
    normal,
    run_estimator,
    sample_series,
    series_descriptions,
)
from afa_conformance.subject import Subject
from afa_core import Noise, kalman

DOFS = st.sampled_from([1.0, 4.0, 30.0])


def contaminated(description: SeriesDescription) -> DrawnSeries:
    """Return a series with an outlier at its second token, or at its only one."""
    series = sample_series(description)
    far = 12.0 * normal(
        np.random.default_rng(description.seed),
        (description.modes,),
        real=description.layout == "real",
    )
    measurements = series.measurements.copy()
    measurements[..., min(1, description.tokens - 1), :] += far
    return replace(series, measurements=measurements)


def distance(series: DrawnSeries, mean: np.ndarray, compared: np.ndarray) -> np.ndarray:
    """Return Σ_k |z_k − x_k|²/η_k² of each token."""
    residual = np.where(compared, np.abs(series.measurements - mean) ** 2, 0.0)
    return np.asarray(np.sum(residual / series.sde.noise.measurement, axis=-1))


@drawn(description=series_descriptions(), dof=DOFS)
@example(description=SeriesDescription(seed=3000323784), dof=1.0)  # two optima about to merge: slow
def test_weight_and_estimate_agree(
    subject: Subject, description: SeriesDescription, dof: float
) -> None:
    """Spec §11: at convergence w = (ν+n)/(ν+n·mean|z−x|²/η²), to 1e-6.

    The estimate is the filter's with η²/w, to 1e-11.
    """
    series = contaminated(description)
    before, result = (
        run_estimator(kalman.robust_filter, series, subject, dof=dof, iterations=n)
        for n in (60, 120)
    )
    if np.max(np.abs(result.weight - before.weight)) > 1e-6:  # where it converges slowly
        reject()
    started = np.isinf(result.predicted_variance)
    compared = series.present & ~started
    parts = 1 if description.layout == "real" else 2
    size = parts * np.sum(compared, axis=-1)
    ratio = parts * distance(series, result.mean, compared)
    subject.assert_close(result.weight, (dof + size) / (dof + ratio), 1e-6)

    noise = series.sde.noise.measurement / result.weight[..., None]
    with np.errstate(invalid="ignore"):
        gain = np.where(
            started, 1.0, result.predicted_variance / (result.predicted_variance + noise)
        )
    gain = np.where(series.present, gain, 0.0)
    z = np.where(series.present, series.measurements, 0.0)
    mean = result.predicted_mean + gain * (z - result.predicted_mean)
    subject.assert_close(result.mean, mean, 1e-11)
    variance = np.where(series.present, gain * noise, result.predicted_variance)
    subject.assert_close(result.variance, variance, 1e-11)


@pytest.mark.asserts
@drawn(description=series_descriptions(gaps=False, prior=True, tokens=1, leading=()), dof=DOFS)
def test_objective_never_rises(
    subject: Subject, description: SeriesDescription, dof: float
) -> None:
    """Spec §11: each iteration lowers −log of normal prediction times Student-t, to 1e-12.

    After 100 iterations its slope in random directions is below 1e-3.
    """
    series = contaminated(description)
    assert series.prior is not None
    prior, variance = np.asarray(series.prior.mean), np.asarray(series.prior.variance)
    noise = np.asarray(series.sde.noise.measurement)
    half, size = (
        (0.5, description.modes) if description.layout == "real" else (1.0, 2 * description.modes)
    )

    def objective(mean: np.ndarray) -> float:
        ratio = 2.0 * half * np.sum(np.abs(series.measurements[0] - mean) ** 2 / noise)
        start = half * np.sum(np.abs(mean - prior) ** 2 / variance)
        return float(start + 0.5 * (dof + size) * math.log1p(ratio / dof))

    means = [
        run_estimator(kalman.robust_filter, series, subject, dof=dof, iterations=n).mean[0]
        for n in (0, 1, 2, 5, 100)
    ]
    values = [objective(mean) for mean in means]
    assert all(later <= earlier + 1e-12 for earlier, later in itertools.pairwise(values))
    rng = np.random.default_rng(description.seed)
    for _ in range(4):
        step = 1e-4 * normal(rng, means[-1].shape, real=description.layout == "real")
        slope = (objective(means[-1] + step) - objective(means[-1] - step)) / 2e-4
        assert abs(slope) < 1e-3


@drawn(description=series_descriptions())
def test_without_reweighting_it_is_the_filter(
    subject: Subject, description: SeriesDescription
) -> None:
    """Spec §11: 0 iterations give the filter, to 1e-13; ν = 1e12 gives it to 1e-7."""
    series = sample_series(description)
    exact = run_estimator(kalman.filter, series, subject)
    without_iteration = run_estimator(kalman.robust_filter, series, subject, iterations=0)
    nearly_normal = run_estimator(kalman.robust_filter, series, subject, dof=1e12)
    for name, x in exact._asdict().items():
        subject.assert_close(getattr(without_iteration, name), x, 1e-13)
        subject.assert_close(getattr(nearly_normal, name), x, 1e-8, scale=10.0)
    assert np.all(without_iteration.weight == 1.0)


@pytest.mark.asserts
@drawn(description=series_descriptions(prior=False))
def test_weight_without_residuals(subject: Subject, description: SeriesDescription) -> None:
    """Spec §11: w = 1 exactly where no measurement has a prediction to compare with; else w ≠ 1."""
    series = sample_series(description)
    result = run_estimator(kalman.robust_filter, series, subject)
    compared = series.present & np.isfinite(result.predicted_variance)
    assert np.all(result.weight[~np.any(compared, axis=-1)] == 1.0)
    assert np.all(result.weight[np.any(compared, axis=-1)] != 1.0)


def test_outlier_is_ignored(subject: Subject) -> None:
    """Spec §11: an outlier at 1e6 moves the robust estimate by less than 1e-3, the filter's by 1e4.

    Its weight is below 1e-10, and earlier weights are bitwise the same.
    """
    series = sample_series(SeriesDescription(tokens=4, prior=True))
    without_outlier = run_estimator(kalman.robust_filter, series, subject, iterations=50)
    measurements = series.measurements.copy()
    measurements[2] += 1e6
    with_outlier = replace(series, measurements=measurements)
    robust = run_estimator(kalman.robust_filter, with_outlier, subject, iterations=50)
    assert robust.weight[2] < 1e-10
    subject.assert_close(robust.mean[2], without_outlier.predicted_mean[2], 1e-3)
    assert np.all(robust.weight[:2] == without_outlier.weight[:2])
    filtered = run_estimator(kalman.filter, with_outlier, subject)
    assert np.min(np.abs(filtered.mean[2])) > 1e4


@drawn(description=series_descriptions(gaps=False, prior=True, tokens=4, leading=()), dof=DOFS)
def test_fill_value_is_no_measurement(
    subject: Subject, description: SeriesDescription, dof: float
) -> None:
    """Spec §11: a measurement of 1e200, whose square overflows, has weight 0 and changes nothing.

    All else is as if there were no such measurement, to 1e-13.
    """
    series = sample_series(description)
    filled, missing = series.measurements.copy(), np.ones((4, description.modes), dtype=bool)
    filled[1], missing[1] = 1e200, False
    with np.errstate(over="ignore"):
        found = run_estimator(
            kalman.robust_filter, replace(series, measurements=filled), subject, dof=dof
        )
    expected = run_estimator(
        kalman.robust_filter, replace(series, observed=missing), subject, dof=dof
    )
    assert found.weight[1] == 0.0
    for name, x in expected._asdict().items():
        others = np.arange(4) != 1 if name == "weight" else ...
        subject.assert_close(getattr(found, name)[others], x[others], 1e-13)


def test_measurement_without_noise(subject: Subject) -> None:
    """Spec §11: at η² = 0 the estimate is the measurement, to 1e-14, with variance exactly 0.

    The weight is that of the other modes alone, to 1e-13.
    """
    series = sample_series(SeriesDescription(tokens=3))
    noise = series.sde.noise._replace(measurement=np.asarray([0.0, 0.5]))
    exact = replace(series, sde=series.sde._replace(noise=noise))
    result = run_estimator(kalman.robust_filter, exact, subject)
    subject.assert_close(result.mean[:, 0], series.measurements[:, 0], 1e-14)
    assert not np.any(result.variance[:, 0])
    assert np.all(np.isfinite(result.log_likelihood))
    other_mode = replace(
        exact,
        measurements=series.measurements[:, 1:],
        sde=series.sde._replace(
            decay=np.asarray(series.sde.decay)[1:],
            frequency=np.asarray(series.sde.frequency)[1:],
            noise=Noise(*(np.asarray(x)[1:] for x in noise)),
        ),
    )
    subject.assert_close(
        result.weight, run_estimator(kalman.robust_filter, other_mode, subject).weight, 1e-13
    )
