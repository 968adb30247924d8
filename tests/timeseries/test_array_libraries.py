"""Estimates of arrays of any library: the same numbers, in arrays of that library."""

import numpy as np
import pytest

from afa_core.timeseries import Filter

PARAMETERS = {"decay": 0.1, "process": 0.5, "measurement": 1.3, "level": 0.5}
FIELDS = ("mean", "sd", "prediction", "prediction_sd", "weight", "outlier")


@pytest.fixture(params=["torch", "array_api_strict"])
def library(request, host):
    """Libraries that compile nothing; see the last test for JAX."""
    return host(request.param)


def model_of(paired, robust, **others):
    frequency = 0.4 if paired else 0.0
    return Filter(**PARAMETERS | others, frequency=frequency, robust=robust, window=30)


@pytest.fixture(scope="module")
def series(simulate):
    def make(paired):
        frequency = 0.4 if paired else None
        return simulate(0.1, 0.5, frequency=frequency, n=70, outliers=0.05)

    return make


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("robust", [True, False])
def test_estimates(library, series, paired, robust):
    times, _, values, _ = series(paired)
    model = model_of(paired, robust)
    own = [library.from_numpy(x) for x in (times, values)]
    for kind in ("filter", "smooth"):
        right, found = getattr(model, kind)(times, values), getattr(model, kind)(*own)
        for name in FIELDS:
            x = getattr(found, name)
            assert type(x) is type(own[1])
            np.testing.assert_allclose(library.to_numpy(x), getattr(right, name), rtol=1e-9)
        np.testing.assert_allclose(
            library.to_numpy(found.interval(0.9)[1]), right.interval(0.9)[1], rtol=1e-9
        )
        np.testing.assert_allclose(library.to_numpy(found.residual), right.residual, rtol=1e-8)


@pytest.mark.parametrize("paired", [False, True])
def test_a_curve(library, series, paired):
    times, _, values, _ = series(paired)
    model = model_of(paired, True, process=0.0)
    found = model.smooth(library.from_numpy(times), library.from_numpy(values))
    right = model.smooth(times, values)
    for name in FIELDS:
        x = library.to_numpy(getattr(found, name))
        np.testing.assert_allclose(x, getattr(right, name), rtol=1e-9)


def test_times_may_be_of_numpy(library, series):
    times, _, values, _ = series(False)
    own = library.from_numpy(values)
    found = model_of(False, True).filter(times, own)
    assert type(found.mean) is type(own)
    dates = np.datetime64("2020-01-01", "ns") + (times * 86_400e9).astype("timedelta64[ns]")
    of_dates = model_of(False, True).filter(dates, own)
    np.testing.assert_allclose(
        library.to_numpy(of_dates.mean), library.to_numpy(found.mean), rtol=1e-6
    )


def test_fits_and_forecasts(library, series):
    times, _, values, _ = series(False)
    own = [library.from_numpy(x) for x in (times, values)]
    right, model = Filter().fit(times, values), Filter().fit(*own)
    assert model.decay_ == pytest.approx(right.decay_, rel=1e-9)
    found, expected = model.forecast(3), right.forecast(3)
    for name in ("times", "mean", "sd", "measurement_sd"):
        assert type(getattr(found, name)) is type(own[1])
        np.testing.assert_allclose(
            library.to_numpy(getattr(found, name)), getattr(expected, name), rtol=1e-9
        )
    later = [times[-1] + 1.0]
    np.testing.assert_allclose(
        library.to_numpy(model.forecast(library.from_numpy(np.asarray(later))).mean),
        right.forecast(later).mean,
        rtol=1e-9,
    )
    mixed = model.filter(times, values)  # a fit of one library, data of another
    np.testing.assert_allclose(mixed.mean, library.to_numpy(model.filter().mean), rtol=1e-9)


def test_rows_in_any_order(library, series):
    times, _, values, _ = series(False)
    order = np.random.default_rng(0).permutation(len(times))
    own = [library.from_numpy(x[order]) for x in (times, values)]
    found = model_of(False, True).filter(*own, sort=True)
    right = model_of(False, True).filter(times, values)
    np.testing.assert_allclose(library.to_numpy(found.mean), right.mean[order], rtol=1e-9)


def test_parameters_may_be_arrays(library, series):
    times, _, values, _ = series(False)
    table = np.stack([values, values + 3.0], axis=-1)
    arrays = {name: np.asarray([x, 0.5 * x]) for name, x in PARAMETERS.items()}
    right = Filter(**arrays).filter(times, table)
    own = {name: library.from_numpy(x) for name, x in arrays.items()}
    found = Filter(**own).filter(library.from_numpy(times), library.from_numpy(table))
    np.testing.assert_allclose(library.to_numpy(found.mean), right.mean, rtol=1e-9)


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("kind", ["filter", "smooth"])
def test_single_precision(library, series, paired, kind):
    times, _, values, _ = series(paired)
    model = model_of(paired, robust=True)
    own = library.from_numpy(values.astype(np.float32))
    found = getattr(model, kind)(library.from_numpy(times.astype(np.float32)), own)
    right = getattr(model, kind)(times, values)
    assert found.mean.dtype == own.dtype
    for name in FIELDS[:-1]:
        np.testing.assert_allclose(
            library.to_numpy(getattr(found, name)), getattr(right, name), rtol=2e-3, atol=2e-4
        )


def test_single_measurement_in_single_precision():
    """What others predict of it is nothing, and not the rounding of a difference."""
    values = np.full(5, np.nan, dtype=np.float32)
    values[2] = 7.0
    found = Filter(0.0, 0.3, 2.0).smooth(np.arange(5.0), values)
    assert np.isnan(found.prediction[2])
    assert found.mean[2] == pytest.approx(7.0)


def test_integers(library, series):
    times, values = 6000 * np.arange(10) - 30_000, np.asarray([3, 4, 5, 4, 3, 90, 4, 3, 2, 3])
    right = model_of(False, True).filter(times.astype(float), values.astype(float))
    for dtype in (np.int16, np.int64):
        own = [library.from_numpy(x.astype(dtype)) for x in (times, values)]
        found = model_of(False, True).filter(*own)
        np.testing.assert_allclose(library.to_numpy(found.mean), right.mean, rtol=1e-6)


def test_complex_values_are_pairs(series):
    times, _, values, _ = series(True)
    values[np.isnan(values).any(axis=-1)] = np.nan
    whole = values[:, 0] + 1j * values[:, 1]
    for robust in (True, False):
        model = model_of(True, robust)
        for kind in ("filter", "smooth"):
            pair, found = getattr(model, kind)(times, values), getattr(model, kind)(times, whole)
            np.testing.assert_allclose(found.mean.real, pair.mean[:, 0], rtol=1e-12)
            np.testing.assert_allclose(found.mean.imag, pair.mean[:, 1], rtol=1e-12)
            for name in ("sd", "prediction_sd", "weight", "outlier"):
                np.testing.assert_allclose(getattr(found, name), getattr(pair, name)[:, 1])
    one, other = (Filter(frequency=None).fit(times, x) for x in (values, whole))
    assert one.frequency_ == other.frequency_


def test_jax(host, series):
    """Exact and short, since JAX compiles every operation anew for every length."""
    jax = host("jax")
    times, _, values, _ = (x[:8] for x in series(False))
    model = Filter(**PARAMETERS, robust=False)
    own = [jax.from_numpy(x) for x in (times, values)]
    found, right = model.filter(*own), model.filter(times, values)
    assert type(found.mean) is type(own[0])
    for name in FIELDS:
        np.testing.assert_allclose(
            jax.to_numpy(getattr(found, name)), getattr(right, name), rtol=1e-9
        )
