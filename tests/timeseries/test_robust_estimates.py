"""Robust estimates: their errors, their intervals, and what they flag."""

import numpy as np
import pytest

from afa_core import IsotropicSDE, Noise, kalman
from afa_core.timeseries import Filter
from afa_core.timeseries.reweighting import mean_weight

REGIMES = {
    "walk": {"decay": 0.0, "process": 0.25},
    "reverting": {"decay": 0.05, "process": 0.3},
    "slow": {"decay": 0.0, "process": 0.01},
}
COUNT = 20


@pytest.fixture(scope="module", params=REGIMES)
def regime(request):
    return REGIMES[request.param]


@pytest.fixture(scope="module", params=[0.0, 0.03], ids=["clean", "outliers"])
def table(request, regime, simulate):
    """Many series at common times, and the filter that is fitted to them."""
    share = request.param
    each = [simulate(**regime, seed=0, outliers=share)]
    rng = np.random.default_rng(1)
    times = each[0].times
    lag = np.diff(times, prepend=times[0])
    decay, process = regime["decay"], regime["process"]
    shape = (len(times), COUNT)
    state = np.zeros(shape)
    gained = lag if decay == 0.0 else -np.expm1(-2.0 * decay * lag) / (2.0 * decay)
    for i in range(1, len(times)):
        noise = np.sqrt(process * gained[i]) * rng.standard_normal(COUNT)
        state[i] = np.exp(-decay * lag[i]) * state[i - 1] + noise
    size = np.where(rng.random(shape) < share, 10.0, 1.0)
    values = state + size * rng.standard_normal(shape)
    values[rng.random(shape) < 0.1] = np.nan
    return share, times, state, values, Filter().fit(times, values)


def rms(error):
    return np.sqrt(np.mean(np.square(error[30:])))


def sequential(times, values, regime):
    """Return the estimates of the sequential robust filter of each series."""
    noise = Noise(regime["process"], 1.0, 0.0)
    sde = IsotropicSDE(regime["decay"], 0.0, noise)
    observed = np.isfinite(values).T[..., None]
    found = kalman.robust_filter(
        np.nan_to_num(values).T[..., None], times, sde, observed=observed, layout="real"
    )
    return found.mean[..., 0].T


def test_errors_of_fitted_filters(table, regime):
    """Within 5 % of the Kalman filter's, with outliers within 8 % of the sequential filter's."""
    share, times, state, values, model = table
    found = model.filter()
    if share:
        best, slack = sequential(times, values, regime), 1.08
    else:
        best, slack = Filter(robust=False).fit(times, values).filter().mean, 1.05
    assert rms(found.mean - state) < slack * rms(best - state)


def test_intervals_cover_what_they_say(table, regime):
    """95 % of the states, as nearly as those of the exact filter that knows the parameters do."""
    _, times, state, values, model = table
    exact = Filter(**regime, measurement=1.0, level=0.0, robust=False)
    clean = np.where(np.abs(values - state) < 4.0, values, np.nan)
    for kind in ("filter", "smooth"):
        found = getattr(model, kind)()
        lower, upper = found.interval(0.95)
        covered = np.mean(((lower < state) & (state < upper))[30:-1])
        low, high = getattr(exact, kind)(times, clean).interval(0.95)
        best = np.mean(((low < state) & (state < high))[30:-1])
        assert 0.9 < covered < 0.98
        assert abs(covered - best) < 0.04, (covered, best)
    wide, narrow = found.interval(0.99), found.interval(0.5)
    assert np.all((wide[0] < narrow[0]) & (narrow[1] < wide[1]))
    np.testing.assert_allclose((lower + upper) / 2.0, found.mean)
    np.testing.assert_allclose(upper - lower, 2.0 * 1.959964 * found.sd, rtol=1e-6)


def test_flags_of_clean_and_of_shifted_measurements(table):
    share, times, _, values, model = table
    if share:  # flags are counted on clean series
        return
    assert np.mean(model.filter().outlier[np.isfinite(values)]) < 0.005
    rng = np.random.default_rng(2)
    shifted = values.copy()
    moved = (rng.random(values.shape) < 0.03) & np.isfinite(values)
    moved[:10] = False
    shifted += np.where(moved, rng.choice([-10.0, 10.0], values.shape), 0.0)
    found = Filter().fit(times, shifted).filter()
    assert np.mean(found.outlier[moved]) > 0.9
    assert np.all(found.weight[moved] < 0.5)
    assert np.mean(found.outlier[np.isfinite(values) & ~moved]) < 0.01
    assert not np.any(found.outlier[np.isnan(values)])


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("dof", [1.0, 4.0, 30.0])
def test_mean_weight_is_that_of_normal_data(dof, parts):
    square = np.mean(np.random.default_rng(0).standard_normal((400_000, parts)) ** 2, axis=-1)
    assert mean_weight(dof, parts) == pytest.approx(np.mean(dof / (dof + square)), abs=2e-3)


def test_standard_deviations_of_clean_series_are_those_of_the_exact_filter(simulate):
    times, _, values, _ = simulate(0.1, 0.5)
    robust, exact = (Filter(0.1, 0.5, 1.0, 0.0, robust=x) for x in (True, False))
    for kind in ("filter", "smooth"):
        ratio = getattr(robust, kind)(times, values).sd / getattr(exact, kind)(times, values).sd
        assert np.nanmin(ratio) >= 1.0 - 1e-9
        assert np.nanmedian(ratio) < 1.04


def test_threshold_of_pairs_is_exceeded_as_rarely(simulate):
    """2 in 100 normal measurements are beyond the threshold that 2 in 100 normal numbers are."""
    threshold = 2.3263  # P(|x| > threshold) = 0.02
    rates = []
    for paired in (False, True):
        series = simulate(0.1, 0.5, frequency=0.3 if paired else None, n=4000, gaps=0.0)
        parameters = {"decay": 0.1, "process": 0.5, "measurement": 1.0, "level": 0.0}
        model = Filter(
            **parameters, frequency=0.3 if paired else 0.0, threshold=threshold, robust=False
        )
        outlier = model.filter(series.times, series.values).outlier
        rates.append(np.mean(outlier))
        if paired:
            np.testing.assert_array_equal(outlier[:, 0], outlier[:, 1])
    np.testing.assert_allclose(rates, 0.02, atol=0.007)


def test_residuals_weights_and_flags_are_of_one_prediction(simulate):
    times, _, values, _ = simulate(n=300, outliers=0.05)
    found = Filter(0.0, 0.25, 1.0).filter(times, values)
    shown = np.isfinite(values)
    shown[0] = False
    residual = found.residual[shown]
    np.testing.assert_allclose(found.weight[shown], 4.0 / (4.0 + residual**2))
    np.testing.assert_array_equal(found.outlier[shown], np.abs(residual) > 3.5)
    assert np.all(np.isnan(found.weight[~np.isfinite(values)]))


def test_shift_of_level_is_followed(simulate):
    times, state, values, _ = simulate(0.0, 0.05, n=400, gaps=0.0)
    after = times > times[200]
    found = Filter().fit(times, values + np.where(after, 15.0, 0.0)).filter()
    assert found.outlier[201]
    assert np.sum(found.outlier[201:]) < 15
    assert np.max(np.abs(found.mean - state - 15.0)[230:]) < 3.0


def test_single_outlier_leaves_the_estimate_where_it_was(simulate):
    times, _, values, _ = simulate(n=200, gaps=0.0)
    model = Filter(0.0, 0.25, 1.0)
    for size in (30.0, 1e3, 1e6):
        dirty = values.copy()
        dirty[100] += size
        missing = values.copy()
        missing[100] = np.nan
        one, other = model.filter(times, dirty), model.filter(times, missing)
        assert np.max(np.abs(one.mean - other.mean)) < 0.6
        assert one.outlier[100]


def test_estimates_in_a_gap_are_those_before_it(simulate):
    """Also if the last measurement is an outlier, and however long the gap is."""
    times, _, values, _ = simulate(n=60)
    values[49], values[50:] = 30.0, np.nan
    times[50:] = times[49] + np.logspace(-1.0, 8.0, 10)
    found = Filter(0.0, 0.25, 1.0).filter(times, values)
    assert abs(found.mean[49] - found.prediction[49]) < 2.0
    np.testing.assert_allclose(found.mean[50:], found.mean[49], rtol=1e-12)
    variance = found.sd[49] ** 2 + 0.25 * (times[50:] - times[49])
    np.testing.assert_allclose(found.sd[50:], np.sqrt(variance), rtol=1e-12)


def test_times_backwards(simulate):
    """Smoothing is the same of a series and its reverse."""
    times, _, values, _ = simulate(0.1, 0.5, n=150, outliers=0.05, seed=2)
    for parameters in ((0.0, 0.5, 1.0), (0.1, 0.5, 1.0, 0.3)):
        for robust in (True, False):
            model = Filter(*parameters, robust=robust)
            forwards = model.smooth(times, values)
            backwards = model.smooth(-times[::-1], values[::-1])
            for name in ("mean", "sd", "prediction", "prediction_sd", "weight"):
                one, other = getattr(forwards, name), getattr(backwards, name)[::-1]
                np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("robust", [True, False])
def test_predictions_do_not_depend_on_later_measurements(robust, simulate):
    times, _, values, _ = simulate(0.1, 0.5, n=80, outliers=0.05, gaps=0.0)
    model = Filter(0.1, 0.5, 1.0, 0.0, robust=robust)
    found = model.filter(times, values)
    other = values.copy()
    other[40:] += np.random.default_rng(0).normal(0.0, 20.0, 40)
    changed = model.filter(times, other)
    for name in ("prediction", "prediction_sd"):
        np.testing.assert_allclose(
            getattr(changed, name)[:41], getattr(found, name)[:41], rtol=1e-12
        )
    np.testing.assert_allclose(changed.mean[:40], found.mean[:40], rtol=1e-12)
    assert not np.allclose(changed.mean[40], found.mean[40])
    both = model.smooth(times, values)
    single = values.copy()
    single[40] += 5.0
    # by a linear smoother not at all, by a robust one through the queries of others alone
    change = model.smooth(times, single).prediction[40] - both.prediction[40]
    assert abs(change) < (0.1 if robust else 1e-9)


def test_windows_longer_than_the_memory_change_nothing(simulate):
    series = [simulate(0.1, 2.0, n=500, seed=k, outliers=0.03) for k in (0, 1)]
    times = series[0].times
    table = np.stack([x.values for x in series], axis=-1)
    table[100:300, 1] = np.nan  # a gap of more rows than the window has
    table[60:95, 0] = np.nan
    for kind in ("filter", "smooth"):
        whole = getattr(Filter(0.1, 2.0, 1.0, 0.0), kind)(times, table)
        parts = getattr(Filter(0.1, 2.0, 1.0, 0.0, window=40), kind)(times, table)
        for name in ("mean", "sd", "prediction", "prediction_sd", "weight"):
            np.testing.assert_allclose(
                getattr(parts, name), getattr(whole, name), rtol=1e-6, atol=1e-6
            )
    short = Filter(0.1, 2.0, 1.0, 0.0, window=1).filter(times, table)
    assert np.all(np.isfinite(short.mean[20:]))


@pytest.mark.parametrize("process", [1e-12, 1e12])
def test_extreme_gains(process, simulate):
    times, _, values, _ = simulate(n=3000, gaps=0.0)
    model = Filter(0.0, process, 1.0)
    for first, found in enumerate((model.smooth(times, values), model.filter(times, values))):
        assert np.all(np.isfinite(found.mean))
        assert np.all(np.isfinite(found.prediction[first:]))
        if process > 1.0:
            np.testing.assert_allclose(found.mean, values, atol=1e-4)


def test_progress_is_reported(simulate):
    times, _, values, _ = simulate(n=300)
    titles = []

    def progress(steps, title):
        titles.append(title)
        return steps

    model = Filter(window=50).fit(times, values, progress=progress)
    assert set(titles) == {"fitting"}
    model.filter(progress=progress)
    assert titles[-1] == "attending"


@pytest.mark.parametrize("size", [1e2, 1e4, 1e8])
@pytest.mark.parametrize("kind", ["filter", "smooth"])
def test_gross_outliers_are_passed_over(kind, size, simulate):
    """The estimates are nearly those without them, alone or three in a row, however large."""
    times, state, values, _ = simulate(n=400)
    wrong = np.isin(np.arange(400), [40, 41, 150, 250, 251, 252, 330])
    disturbed = values + np.where(wrong, size, 0.0)
    walk = Filter(0.0, 0.25, 1.0)
    found = getattr(walk, kind)(times, disturbed)
    best = getattr(walk, kind)(times, np.where(wrong, np.nan, values))
    assert rms(found.mean - state) < 1.05 * rms(best.mean - state)
    np.testing.assert_array_equal(found.outlier, wrong & np.isfinite(values))
