"""The filter is the textbook recursion, its likelihood the joint normal density (spec §11)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from afa_conformance import series as described
from afa_conformance.drawing import drawn
from afa_conformance.oracles import textbook
from afa_conformance.series import (
    SeriesDescription,
    run_estimator,
    sample_series,
    series_descriptions,
)
from afa_conformance.subject import Subject
from afa_core import IsotropicSDE, Noise, kalman
from afa_core.kalman import Filtered


@pytest.mark.parametrize("method", ["scan", "sequential"])
@drawn(description=series_descriptions())
def test_textbook_recursion(subject: Subject, method: str, description: SeriesDescription) -> None:
    """Spec §11: every mean, variance and likelihood of the scalar recursion, to 1e-12.

    With gaps, ties, priors and a diffuse start.
    """
    series = sample_series(description)
    actual = run_estimator(kalman.filter, series, subject, method=method)
    for (*own, k), mode in textbook.modes(series):
        expected = Filtered(*map(np.asarray, textbook.kalman_filter(mode)))
        for name, x in expected._asdict().items():
            at = (*own, k) if name == "log_likelihood" else (*own, slice(None), k)
            subject.assert_close(getattr(actual, name)[at], x, 1e-12)


@drawn(description=series_descriptions())
def test_likelihood_is_the_joint_density(subject: Subject, description: SeriesDescription) -> None:
    """Spec §11: the innovations give the dense normal density of all measurements, to 1e-9."""
    series = sample_series(description)
    actual = run_estimator(kalman.filter, series, subject).log_likelihood
    for index, mode in textbook.modes(series):
        expected = textbook.log_likelihood(mode)
        subject.assert_close(actual[index], expected, 1e-9, scale=1.0 + abs(expected))


@drawn(description=series_descriptions(prior=False, gaps=False, process="ordinary", tokens=4))
def test_diffuse_start_is_the_limit_of_a_wide_prior(
    subject: Subject, description: SeriesDescription
) -> None:
    """Spec §11: a prior of variance P₀ → ∞ approaches the diffuse start as 1/P₀.

    Means and variances to 30/P₀; likelihoods differ by the first density, to 1000/P₀.
    """
    series = sample_series(description)
    zero = np.zeros_like(series.measurements[..., 0, :])
    exact = run_estimator(kalman.filter, series, subject)
    for width in (1e4, 1e6):
        wide = replace(series, prior=kalman.Prior(zero, np.full(zero.shape[-1:], width)))
        near = run_estimator(kalman.filter, wide, subject)
        subject.assert_close(near.mean, exact.mean, 30.0 / width)
        subject.assert_close(near.variance, exact.variance, 30.0 / width)
        half = 0.5 if series.layout == "real" else 1.0
        first = -half * np.log(np.pi * (width + series.sde.noise.measurement) / half)
        total = exact.log_likelihood + first
        subject.assert_close(near.log_likelihood, total, 100.0 / width, scale=10.0)


@pytest.mark.many_shapes
@drawn(
    description=series_descriptions(leading=(), modes=1, gaps=True, tokens=4, prior=[False, True])
)
def test_missing_measurements_have_no_effect(
    subject: Subject, description: SeriesDescription
) -> None:
    """Spec §11: a missing measurement, NaN included, has the effect of none, to 1e-12."""
    series = sample_series(description)
    present = series.present[:, 0]
    present[0] |= description.prior or not present.any()
    without_missing = replace(
        series,
        measurements=series.measurements[present],
        times=series.explicit_times[present],
        observed=series.present[present],
    )
    whole, expected = (
        run_estimator(kalman.filter, each, subject) for each in (series, without_missing)
    )
    subject.assert_close(whole.mean[present], expected.mean, 1e-12)
    subject.assert_close(whole.variance[present], expected.variance, 1e-12)
    subject.assert_close(whole.log_likelihood, expected.log_likelihood, 1e-12)


@pytest.mark.needs("wide times")
@drawn(description=series_descriptions(tokens=4, decay=["zero", "slow"], process="zero"))
def test_times_of_few_digits(subject: Subject, description: SeriesDescription) -> None:
    """Spec §8.3: times in single precision are what they are in double precision, to 1e-12.

    They are exact; the time from the first to the last is not.
    """
    times = np.asarray([0.25, 0.5, 0.75, 1e7], dtype=np.float32)
    series = replace(sample_series(description), times=times)
    found = run_estimator(kalman.filter, series, subject)
    expected = run_estimator(
        kalman.filter, replace(series, times=times.astype(np.float64)), subject
    )
    for name, x in expected._asdict().items():
        subject.assert_close(getattr(found, name), x, 1e-12)


def test_real_and_imaginary_part_are_two_real_states(subject: Subject) -> None:
    """Spec §11: a complex mode with ω = 0 is two real states with half its noise each, to 1e-12.

    Its log-likelihood is the sum of theirs.
    """
    series = sample_series(SeriesDescription(gaps=True, prior=True, layout="interleaved"))
    noise = Noise(*(x / 2.0 for x in series.sde.noise))
    without_rotation = replace(series, sde=series.sde._replace(frequency=np.zeros(2)))
    complex_result = run_estimator(kalman.filter, without_rotation, subject)
    assert series.prior is not None
    total = 0.0
    for component in ("real", "imag"):
        mean = getattr(series.prior.mean, component)
        real_series = replace(
            without_rotation,
            measurements=getattr(series.measurements, component),
            sde=without_rotation.sde._replace(noise=noise),
            prior=kalman.Prior(mean, series.prior.variance / 2.0),
            layout="real",
        )
        real_result = run_estimator(kalman.filter, real_series, subject)
        subject.assert_close(real_result.mean, getattr(complex_result.mean, component), 1e-12)
        subject.assert_close(2.0 * real_result.variance, complex_result.variance, 1e-12)
        total = total + real_result.log_likelihood
    subject.assert_close(total, complex_result.log_likelihood, 1e-12)


@pytest.mark.many_shapes
@pytest.mark.parametrize("layout", described.LAYOUTS)
def test_one_model_for_all_modes(subject: Subject, layout: str) -> None:
    """Spec §11: an isotropic model is the diagonal one with equal modes, to 1e-13."""
    series = sample_series(SeriesDescription(leading=(2,), gaps=True, layout=layout))
    isotropic = described.isotropic(series)
    equal = series.sde._replace(
        decay=np.full(2, isotropic.decay),
        frequency=np.full(2, isotropic.frequency),
        noise=Noise(*(np.full(2, x) for x in isotropic.noise)),
    )
    expected = run_estimator(kalman.filter, replace(series, sde=equal), subject)
    noise = Noise(*(np.full(2, x) for x in isotropic.noise))
    for sde in (
        isotropic,
        IsotropicSDE(np.full(2, isotropic.decay), np.full(2, isotropic.frequency), noise),
    ):
        actual = run_estimator(kalman.filter, replace(series, sde=sde), subject)
        for name, x in expected._asdict().items():
            subject.assert_close(getattr(actual, name), x, 1e-13)


@pytest.mark.many_shapes
@pytest.mark.parametrize("estimator", [kalman.filter, kalman.smoother, kalman.robust_filter])
def test_single_precision(subject: Subject, estimator: Any) -> None:
    """Spec §8.5: float32 data give float32 results, to 2e-6 (the log-likelihood to 2e-5).

    Also with double-precision times that are shifted by 1e9.
    """
    series = sample_series(SeriesDescription(tokens=8, layout="interleaved"))
    ticks = np.round(series.times * 1024.0) / 1024.0
    exact = run_estimator(estimator, replace(series, times=ticks), subject)
    for shift in (0.0, 1e9):
        moved = replace(series, times=ticks + shift)
        single = run_estimator(estimator, moved, subject, "float32")
        for name, x in exact._asdict().items():
            assert getattr(single, name).dtype.itemsize in (4, 8)
            assert getattr(single, name).real.dtype == np.float32
            subject.assert_close(
                getattr(single, name), x, 2e-6 * (10 if name == "log_likelihood" else 1)
            )


def test_state_known_exactly(subject: Subject) -> None:
    """Spec §11: without noise, a prior of variance 0 is propagated to 1e-13, its variance exactly.

    Measurements without noise have no effect, and the log-likelihood is exactly zero.
    """
    series = sample_series(SeriesDescription(process="zero", times="tied", prior=True))
    assert series.prior is not None
    noise = series.sde.noise._replace(measurement=np.zeros(2))
    certain = replace(
        series,
        sde=series.sde._replace(noise=noise),
        prior=series.prior._replace(variance=np.zeros(2)),
    )
    for estimator in (kalman.filter, kalman.robust_filter, kalman.smoother):
        actual = run_estimator(estimator, certain, subject)
        rate = -series.sde.decay + 1j * series.sde.frequency
        propagated = (
            np.exp(rate * (series.explicit_times - series.explicit_times[0])[:, None])
            * series.prior.mean
        )
        subject.assert_close(actual.mean, propagated, 1e-13)
        assert not np.any(actual.variance)
        assert not np.any(getattr(actual, "log_likelihood", 0.0))


@pytest.mark.many_shapes
def test_times_for_each_series(subject: Subject) -> None:
    """Spec §8: leading axes of times, parameters and measurements broadcast, to 1e-14."""
    rng = np.random.default_rng(3)
    z, gaps = rng.normal(size=(2, 1, 4, 4)), rng.uniform(0.1, 1.0, (3, 4))
    times = np.cumsum(gaps, axis=-1)
    decay, process, measurement = rng.uniform(0.1, 1.0, (3, 2, 1))
    send = subject.from_numpy
    noise = Noise(send(process), send(measurement), 0.0)
    sde = IsotropicSDE(send(decay), send(np.asarray([0.7, -0.2])), noise)
    whole = subject.to_numpy(kalman.filter(send(z), send(times), sde).mean)
    assert whole.shape == (2, 3, 4, 4)
    for i, j in np.ndindex(2, 3):
        single_noise = Noise(float(process[i, 0]), float(measurement[i, 0]), 0.0)
        single_sde = IsotropicSDE(float(decay[i, 0]), sde.frequency, single_noise)
        single = kalman.filter(send(z[i, 0]), send(times[j]), single_sde).mean
        subject.assert_close(whole[i, j], subject.to_numpy(single), 1e-14)
