"""The parallel scans give the results of the recursions, at every length (spec §11)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

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
from afa_core import IsotropicSDE, Noise, kalman

METHODS = ("scan", "sequential")
BESIDE_POWERS_OF_TWO = (3, 5, 8, 31, 32, 33)


def assert_methods_agree(
    series: DrawnSeries, subject: Subject, estimator: Any, tolerance: float
) -> None:
    """Assert that every result of the two methods agrees, relative to its largest number."""
    scanned, sequential = (
        run_estimator(estimator, series, subject, method=each) for each in METHODS
    )
    for name, expected in sequential._asdict().items():
        subject.assert_close(getattr(scanned, name), expected, tolerance)


@pytest.mark.parametrize("estimator", [kalman.filter, kalman.smoother])
@drawn(description=series_descriptions())
def test_scan_is_the_recursion(
    subject: Subject, estimator: Any, description: SeriesDescription
) -> None:
    """Spec §11: every mean, variance and likelihood of the sequential method, to 1e-12.

    With gaps, ties, priors, diffuse starts and no noise.
    """
    assert_methods_agree(sample_series(description), subject, estimator, 1e-12)


@pytest.mark.many_shapes
@pytest.mark.parametrize("estimator", [kalman.filter, kalman.smoother])
@pytest.mark.fewer_examples(4)
@drawn(description=series_descriptions(tokens=list(BESIDE_POWERS_OF_TWO), leading=()))
def test_every_length(subject: Subject, estimator: Any, description: SeriesDescription) -> None:
    """Spec §11: scan and recursion agree at lengths on both sides of powers of two, to 1e-11."""
    assert_methods_agree(sample_series(description), subject, estimator, 1e-11)


@pytest.mark.many_shapes
@pytest.mark.fewer_examples(10)
@drawn(
    description=series_descriptions(
        tokens=257, leading=(), times=["irregular", "default"], decay="ordinary"
    )
)
def test_long_series(subject: Subject, description: SeriesDescription) -> None:
    """Spec §11: the scanned filter is the textbook recursion over 257 tokens, to 1e-12."""
    series = sample_series(description)
    actual = run_estimator(kalman.filter, series, subject, method="scan")
    for (*own, k), mode in textbook.modes(series):
        at = (*own, slice(None), k)
        mean, variance, *_ = textbook.kalman_filter(mode)
        subject.assert_close(actual.mean[at], np.asarray(mean), 1e-12)
        subject.assert_close(actual.variance[at], np.asarray(variance), 1e-12)


@drawn(
    description=series_descriptions(
        tokens=[4, 2], leading=(), process="ordinary", gaps=False, prior=False
    )
)
def test_scan_is_dense_least_squares(subject: Subject, description: SeriesDescription) -> None:
    """Spec §13: scans equal generalised least squares with the full covariance, to 1e-9."""
    series = sample_series(description)
    for estimator, causal in ((kalman.filter, True), (kalman.smoother, False)):
        actual = run_estimator(estimator, series, subject, method="scan")
        dense = run_estimator(kalman.batch_mle, series, subject, causal=causal)
        subject.assert_close(actual.mean, dense.mean, 1e-9)
        subject.assert_close(actual.variance, dense.variance, 1e-9)


@pytest.mark.many_shapes
@pytest.mark.parametrize("method", METHODS)
def test_measurement_without_noise(subject: Subject, method: str) -> None:
    """Spec §11: at η² = 0 the state is its measurement, to 1e-12, with variance exactly 0.

    In between, scan and recursion agree to 1e-12.
    """
    description = SeriesDescription(tokens=9, gaps=True, times="irregular")
    series = sample_series(description)
    noise = series.sde.noise._replace(measurement=np.zeros(2))
    exact = replace(series, sde=series.sde._replace(noise=noise))
    for estimator in (kalman.filter, kalman.smoother):
        actual = run_estimator(estimator, exact, subject, method=method)
        subject.assert_close(actual.mean[exact.present], exact.measurements[exact.present], 1e-12)
        assert not np.any(actual.variance[exact.present])
    assert_methods_agree(exact, subject, kalman.smoother, 1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_unobserved_start_is_diffuse(subject: Subject, method: str) -> None:
    """Spec §11: long before the first measurement the mean is 0 and the variance infinite."""
    series = sample_series(SeriesDescription(tokens=2))
    observed = np.asarray([[False, False], [True, True]])
    far = replace(series, times=np.asarray([0.0, 1e5]), observed=observed)
    actual = run_estimator(kalman.smoother, far, subject, method=method)
    assert not np.any(actual.mean[0])
    assert np.all(np.isinf(actual.variance[0]))
    subject.assert_close(actual.variance[1], series.sde.noise.measurement, 1e-12)


@pytest.mark.many_shapes
def test_scan_does_not_overflow(subject: Subject) -> None:
    """Spec §11: in float32, where E² underflows over the series, the scan is right to 1e-6.

    Variances are finite. The recursion divides by E; products of such factors would overflow in a
    scan.
    """
    description = SeriesDescription(
        tokens=200, modes=1, process="zero", times="default", layout="real"
    )
    series = sample_series(description)
    decaying = replace(series, sde=series.sde._replace(decay=np.full(1, 0.3)))
    exact = run_estimator(kalman.smoother, decaying, subject, method="sequential")
    single = run_estimator(kalman.smoother, decaying, subject, "float32", method="scan")
    subject.assert_close(single.mean, exact.mean, 1e-6)
    assert np.all(np.isfinite(single.variance))


@pytest.mark.asserts
@pytest.mark.many_shapes
@pytest.mark.parametrize(("prior", "noise"), [(1e20, 1e-20), (1e30, 1e-10), (1e10, 1e-30)])
@pytest.mark.parametrize("process", [0.0, 1.0])
def test_scan_of_exact_measurements(
    subject: Subject, prior: float, noise: float, process: float
) -> None:
    """Spec §11: in float32 scan and recursion agree to 1e-5 at P/η² = 10⁴⁰, beyond its range.

    P is that of a prior, or σ² h where `process` is 1: tokens at equal times follow a gap.
    """
    z = np.random.default_rng(0).standard_normal((7, 1)).astype(np.float32)
    for estimator in (kalman.filter, kalman.smoother):
        scanned, sequential = (
            after_a_gap(subject, estimator, each, z, prior, process * prior, noise)
            for each in METHODS
        )
        for name, expected in sequential._asdict().items():
            found = subject.to_numpy(getattr(scanned, name))
            np.testing.assert_allclose(found, subject.to_numpy(expected), rtol=1e-5, err_msg=name)


@pytest.mark.asserts
@pytest.mark.many_shapes
@pytest.mark.needs("gradients")
@pytest.mark.parametrize("estimator", [kalman.filter, kalman.smoother])
def test_gradients_of_exact_measurements(subject: Subject, estimator: Any) -> None:
    """Spec §11: at P/η² = 10⁴⁰ derivatives of the two agree to 1e-4: by measurements and σ².

    Those by the prior and η² are below rounding, and finite.
    """
    z = np.random.default_rng(0).standard_normal((7, 1)).astype(np.float32)
    prior, process, noise = (np.full((), x, dtype=np.float32) for x in (1e30, 0.0, 1e-10))

    def loss(method: str, *arrays: Any) -> Any:
        return (after_a_gap(subject, estimator, method, *arrays).mean ** 2).sum()

    assert subject.grad is not None
    arrays = [subject.from_numpy(x) for x in (z, prior, process, noise)]
    found, expected = (
        [subject.to_numpy(x) for x in subject.grad(partial(loss, each), *arrays)]
        for each in METHODS
    )
    assert all(np.all(np.isfinite(x)) for x in found)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[2], expected[2], rtol=1e-4)


def after_a_gap(
    subject: Subject, estimator: Any, method: str, z: Any, prior: Any, process: Any, noise: Any
) -> Any:
    """Return estimates of a random walk whose second token is a gap before three equal times."""
    times, observed = np.asarray([0.0, 1.0, 2.0, 2.0, 2.0, 3.0, 3.0]), np.arange(7)[:, None] != 1
    return estimator(
        subject.from_numpy(z) if isinstance(z, np.ndarray) else z,
        subject.from_numpy(times),
        IsotropicSDE(0.0, 0.0, Noise(process, noise, noise)),
        prior=kalman.Prior(0.0, prior),
        observed=subject.from_numpy(observed),
        layout="real",
        method=method,
    )


@pytest.mark.asserts
def test_method_is_one_of_two(subject: Subject) -> None:
    """Spec §8: a `method` other than 'scan' and 'sequential' raises ValueError."""
    z, sde = subject.from_numpy(np.ones((3, 2))), IsotropicSDE(0.1, 0.5, Noise(0.2, 1.0, 0.5))
    for estimator in (kalman.filter, kalman.smoother):
        with pytest.raises(ValueError, match="`method` must be one of 'scan', 'sequential'"):
            estimator(z, None, sde, method="parallel")  # type: ignore[arg-type]
