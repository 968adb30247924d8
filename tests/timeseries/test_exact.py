"""Estimates that are not robust are generalised least squares of all measurements."""

import numpy as np
import pytest

from afa_core.timeseries import Filter

CASES = {
    "walk": {"decay": 0.0, "process": 0.5, "measurement": 0.7},
    "reverting": {"decay": 0.3, "process": 0.5, "measurement": 2.0, "level": 5.0},
    "certain": {"decay": 0.0, "process": 0.0, "measurement": 0.7},
    "curve": {"decay": 0.05, "process": 0.0, "measurement": 0.7, "level": 5.0},
    "precise": {"decay": 0.1, "process": 1.0, "measurement": 1e-4, "level": 1.0},
}


def least_squares(times, values, query, parameters, own=True):
    """Return the mean and variance of the state at a time from measurements, of a flat prior.

    The covariance of the states is that of the process from its first time on; a constant column
    times e^{−μ(t − t₀)} stands for the unknown state there.
    """
    decay, process = parameters["decay"], parameters["process"]
    start = min(times[0], query)

    def gained(lag):
        return lag if decay == 0.0 else -np.expm1(-2.0 * decay * lag) / (2.0 * decay)

    def covariance(a, b):
        first = np.minimum(a[:, None], b)
        return process * np.exp(-decay * abs(a[:, None] - b)) * gained(first - start)

    at = np.asarray([query])
    noise = parameters["measurement"] * np.eye(len(times))
    inverse = np.linalg.inv(covariance(times, times) + noise)
    column, own_column = np.exp(-decay * (times - start)), np.exp(-decay * (query - start))
    cross = covariance(at, times)[0]
    level = parameters.get("level", 0.0)
    precision = column @ inverse @ column
    first = column @ inverse @ (values - level) / precision
    mean = level + own_column * first + cross @ inverse @ (values - level - column * first)
    rest = own_column - cross @ inverse @ column
    variance = covariance(at, at)[0, 0] - cross @ inverse @ cross + rest**2 / precision
    return mean, variance


@pytest.fixture(scope="module")
def series(simulate):
    found = simulate(0.2, 0.5, n=25, seed=3, gaps=0.3)
    times = found.times.copy()
    times[6] = times[5]
    return times, found.values + 4.0


@pytest.mark.parametrize("case", CASES)
def test_filter_is_least_squares_of_the_measurements_so_far(case, series):
    times, values = series
    parameters = CASES[case]
    found = Filter(**parameters, robust=False).filter(times, values)
    seen = np.isfinite(values)
    for i in range(len(times)):
        earlier, shown = seen[:i].nonzero()[0], seen[: i + 1].nonzero()[0]
        for rows, mean, deviation, noise in (
            (shown, found.mean[i], found.sd[i], 0.0),
            (earlier, found.prediction[i], found.prediction_sd[i], parameters["measurement"]),
        ):
            if not len(rows):
                assert np.isnan(mean)
                assert np.isnan(deviation)
                continue
            right, variance = least_squares(times[rows], values[rows], times[i], parameters)
            assert mean == pytest.approx(right, rel=1e-7, abs=1e-7)
            assert deviation == pytest.approx(np.sqrt(variance + noise), rel=1e-6)


@pytest.mark.parametrize("case", ["walk", "certain", "curve"])
def test_smoother_is_least_squares_of_all_measurements(case, series):
    times, values = series
    parameters = CASES[case]
    found = Filter(**parameters, robust=False).smooth(times, values)
    seen = np.isfinite(values).nonzero()[0]
    for i in range(len(times)):
        right, variance = least_squares(times[seen], values[seen], times[i], parameters)
        assert found.mean[i] == pytest.approx(right, rel=1e-6)
        assert found.sd[i] == pytest.approx(np.sqrt(variance), rel=1e-5)
        others = seen[seen != i]
        right, variance = least_squares(times[others], values[others], times[i], parameters)
        total = variance + parameters["measurement"]
        assert found.prediction[i] == pytest.approx(right, rel=1e-6)
        assert found.prediction_sd[i] == pytest.approx(np.sqrt(total), rel=1e-5)


def test_smoother_of_a_reverting_state_has_its_stationary_distribution(series):
    times, values = series
    decay, process, measurement, level = 0.3, 0.5, 2.0, 5.0
    found = Filter(decay, process, measurement, level, robust=False).smooth(times, values)
    seen = np.isfinite(values)

    def covariance(a, b):
        return process / (2.0 * decay) * np.exp(-decay * abs(a[:, None] - b))

    cross = covariance(times, times[seen])
    noise = measurement * np.eye(int(np.sum(seen)))
    gains = np.linalg.solve(covariance(times[seen], times[seen]) + noise, cross.T).T
    np.testing.assert_allclose(found.mean, level + gains @ (values[seen] - level), rtol=1e-9)
    variance = process / (2.0 * decay) - np.sum(gains * cross, axis=-1)
    np.testing.assert_allclose(found.sd, np.sqrt(variance), rtol=1e-9)


@pytest.mark.parametrize("robust", [True, False])
def test_forecast_is_the_prediction_of_measurements_that_are_missing(robust, series):
    times, values = series
    later = times[-1] + np.asarray([0.5, 3.0, 100.0])
    for parameters in CASES.values():
        model = Filter(**parameters, robust=robust).fit(times, values)
        found = model.forecast(later)
        longer = model.filter(np.append(times, later), np.append(values, [np.nan] * 3))
        np.testing.assert_allclose(found.mean, longer.prediction[-3:], rtol=1e-9)
        np.testing.assert_allclose(found.mean, longer.mean[-3:], rtol=1e-9)
        np.testing.assert_allclose(found.sd, longer.sd[-3:], rtol=1e-9)
        np.testing.assert_allclose(found.measurement_sd, longer.prediction_sd[-3:], rtol=1e-9)


@pytest.mark.parametrize("frequency", [0.7, -2.0])
def test_pairs_rotate_counterclockwise_at_positive_frequency(frequency):
    """Forecast of a state without noise: a circle about the level."""
    times = np.linspace(0.0, 5.0, 40)
    angle = frequency * times
    values = 3.0 + 2.0 * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    level = 3.0 + 3.0j
    model = Filter(1e-9, 1e-3, 1.0, level, frequency, robust=False).fit(times, values)
    ahead = model.forecast([6.0, 7.5]).mean
    right = 3.0 + 2.0 * np.stack(
        [np.cos(frequency * np.asarray([6.0, 7.5])), np.sin(frequency * np.asarray([6.0, 7.5]))],
        axis=-1,
    )
    np.testing.assert_allclose(ahead, right, atol=1e-6)


@pytest.mark.parametrize("robust", [True, False])
def test_pairs_that_do_not_rotate_have_the_variances_of_columns(robust, simulate):
    times, _, values, _ = simulate(0.1, 0.5, frequency=0.0, n=60)
    values[np.isnan(values[:, 0]) | np.isnan(values[:, 1])] = np.nan  # a pair is measured whole
    parameters = {"decay": 0.1, "process": 0.5, "measurement": 1.3}
    columns = Filter(**parameters, level=0.0, robust=False).filter(times, values)
    for kind in ("filter", "smooth"):
        pair = Filter(**parameters, level=0.0, frequency=1e-300, robust=robust)
        found = getattr(pair, kind)(times, values)
        whole = Filter(**parameters, level=0.0, robust=robust)
        as_complex = getattr(whole, kind)(times, values[:, 0] + 1j * values[:, 1])
        np.testing.assert_allclose(
            found.mean, np.stack([as_complex.mean.real, as_complex.mean.imag], axis=-1), rtol=1e-12
        )
        np.testing.assert_allclose(found.sd[:, 0], as_complex.sd, rtol=1e-12)
        np.testing.assert_allclose(found.weight[:, 1], as_complex.weight, rtol=1e-12)
        if not robust and kind == "filter":
            np.testing.assert_allclose(found.mean, columns.mean, rtol=1e-9)
            np.testing.assert_allclose(found.sd, columns.sd, rtol=1e-9)
            np.testing.assert_allclose(found.prediction_sd, columns.prediction_sd, rtol=1e-9)


@pytest.mark.parametrize("robust", [True, False])
@pytest.mark.parametrize("kind", ["filter", "smooth"])
def test_series_with_few_measurements_among_others(robust, kind, simulate):
    times, _, values, _ = simulate(n=30)
    nothing, one = np.full(30, np.nan), np.full(30, np.nan)
    one[5] = 2.0
    table = np.stack([values, nothing, one], axis=-1)
    walk = Filter(0.0, 0.25, 1.0, robust=robust)
    found, alone = getattr(walk, kind)(times, table), getattr(walk, kind)(times, values)
    np.testing.assert_allclose(found.mean[:, 0], alone.mean, rtol=1e-9)
    for x in (found.mean, found.sd, found.prediction, found.prediction_sd):
        assert np.all(np.isnan(x[:, 1]))
    assert found.mean[5, 2] == pytest.approx(2.0)
    assert found.sd[5, 2] == pytest.approx(1.0)
    assert np.isnan(found.prediction[5, 2])
    assert np.all(np.isnan(found.mean[:5, 2])) == (kind == "filter")
    assert found.sd[-1, 2] == pytest.approx(np.sqrt(1.0 + 0.25 * (times[-1] - times[5])))
    assert not np.any(found.outlier[:, 1:])
    reverting = Filter(0.5, 0.25, 1.0, 7.0, robust=robust)
    found = getattr(reverting, kind)(times, table)
    if kind == "smooth":  # the stationary distribution
        np.testing.assert_allclose(found.mean[:, 1], 7.0)
        np.testing.assert_allclose(found.sd[:, 1], 0.5)
        np.testing.assert_allclose(found.prediction[5, 2], 7.0)
    else:
        assert np.all(np.isnan(found.mean[:, 1]))
