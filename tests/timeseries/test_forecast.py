"""Times of forecasts: as far apart as those fitted, of their kind, zone and frequency."""

import numpy as np
import pytest

from afa_core.timeseries import Filter

pandas = pytest.importorskip("pandas")
N = 12
VALUES = np.random.default_rng(0).standard_normal(N)
MODEL = {"decay": 0.1, "process": 0.3, "measurement": 1.0, "level": 0.0}

INDEXES = {
    "days": pandas.date_range("2020-02-20", periods=N),
    "ends of months": pandas.date_range("2020-01-31", periods=N, freq="ME"),
    "months of no stated frequency": pandas.DatetimeIndex(
        pandas.date_range("2020-01-01", periods=N, freq="MS").to_numpy()
    ),
    "working days": pandas.bdate_range("2020-01-01", periods=N),
    "periods": pandas.period_range("2020-01", periods=N, freq="M"),
    "days over a change of the clock": pandas.date_range(
        "2021-03-20", periods=N, tz="Europe/Berlin"
    ),
    "hours over a change of the clock": pandas.date_range(
        "2021-03-27 19:00", periods=N, freq="h", tz="Europe/Berlin"
    ),
    "durations": pandas.timedelta_range("0h", periods=N, freq="h"),
    "integers": pandas.RangeIndex(N),
    "odd integers": pandas.Index(np.arange(1, 2 * N, 2)),
}


@pytest.mark.parametrize("kind", INDEXES)
def test_steps_continue_the_index(kind):
    longer = INDEXES[kind]
    index = longer[: N - 3]
    model = Filter(**MODEL).fit(pandas.Series(VALUES[: N - 3], index=index))
    found = model.forecast(3)
    assert list(found.times) == list(longer[N - 3 :])
    assert type(found.mean.index) is type(found.times)
    assert list(found.mean.index) == list(longer[N - 3 :])
    frame = found.to_frame()
    assert list(frame.index) == list(longer[N - 3 :])
    columns = ["mean", "sd", "measurement_sd"]
    for of, prefix in (("state", ""), ("measurement", "measurement_")):
        ends = [f"{prefix}lower", f"{prefix}upper"]
        columns += ends
        for name, end in zip(ends, found.interval(of=of), strict=True):
            np.testing.assert_array_equal(frame[name], end)
    assert list(frame.columns) == columns
    by_times = model.forecast(longer[N - 3 :])
    np.testing.assert_array_equal(by_times.mean, found.mean)


@pytest.mark.parametrize("unit", ["Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps"])
def test_steps_of_dates_of_numpy_are_of_their_unit(unit):
    dates = np.arange(N).astype(f"datetime64[{unit}]")
    found = Filter(**MODEL).fit(dates[:-2], VALUES[:-2]).forecast(2)
    np.testing.assert_array_equal(found.times, dates[-2:])
    assert found.times.dtype == dates.dtype


def test_irregular_times_are_continued_by_their_median():
    times = np.asarray([0.0, 1.0, 1.0, 3.0, 7.0])
    found = Filter(**MODEL).fit(times, VALUES[:5]).forecast(2)
    np.testing.assert_array_equal(found.times, [9.0, 11.0])
    whole = Filter(**MODEL).fit(times.astype(int), VALUES[:5]).forecast(np.int64(2))
    assert whole.times.dtype.kind == "i"
    days = times.astype("datetime64[D]")
    days[-1] -= 2
    half = Filter(**MODEL).fit(days, VALUES[:5]).forecast(2)  # 1, 2, 2: two days
    np.testing.assert_array_equal(half.times, days[-1] + np.asarray([2, 4]))
    between = Filter(**MODEL).fit(days[[0, 1, 3]], VALUES[:3]).forecast(2)  # 1 and 2
    hours = np.asarray([36, 72], dtype="timedelta64[h]")
    np.testing.assert_array_equal(between.times, days[3] + hours)


def test_times_given_beside_pandas_count():
    dates = pandas.date_range("2020", periods=N, tz="Asia/Tokyo")
    series = pandas.Series(VALUES)
    found = Filter(**MODEL).fit(dates, series).forecast(1)
    assert found.times[0] == dates[-1] + pandas.Timedelta("1D")
    assert str(found.times.tz) == "Asia/Tokyo"
    numbers = Filter(**MODEL).fit(10.0 * np.arange(N), series.set_axis(dates)).forecast(1)
    np.testing.assert_array_equal(numbers.times, [10.0 * N])


def test_rows_in_any_order():
    index = pandas.date_range("2020", periods=N)[::-1]
    found = Filter(**MODEL).fit(pandas.Series(VALUES, index=index), sort=True).forecast(2)
    assert list(found.times) == list(pandas.date_range("2020-01-13", periods=2))
    right = Filter(**MODEL).fit(index[::-1], VALUES[::-1]).forecast(2)
    np.testing.assert_array_equal(found.mean, right.mean)


def test_dates_beyond_the_range_of_nanoseconds():
    """P grows by σ² a day over all of 3,000 years, whatever the units of the dates."""
    days = np.asarray(["2024-01-01", "2024-01-02", "2024-01-03"], dtype="datetime64[D]")
    model, late = Filter(0.0, 1.0, 1.0), np.asarray(["5000-01-01"], dtype="datetime64[us]")
    right = model.fit(days, [1.0, 2.0, 1.5]).forecast(late.astype("datetime64[D]"))
    for unit in ("ns", "us", "s"):
        found = model.fit(days.astype(f"datetime64[{unit}]"), [1.0, 2.0, 1.5]).forecast(late)
        np.testing.assert_allclose(found.sd, right.sd, rtol=1e-12)
    assert right.sd[0] ** 2 == pytest.approx(
        (late - days[-1])[0] / np.timedelta64(1, "D"), rel=1e-5
    )


def test_half_a_microsecond_of_a_late_year():
    ticks = np.asarray([0, 1, 2, 5, 7]).astype("timedelta64[us]")
    late = Filter(**MODEL).fit(np.datetime64("5000-01-01", "us") + ticks, VALUES[:5])
    assert str(late.forecast(1).times[0]) == "5000-01-01T00:00:00.000009"


def test_intervals_are_of_the_state_or_of_a_measurement():
    found = Filter(**MODEL).fit(np.arange(N), VALUES).forecast(4)
    for of, sd in (("state", found.sd), ("measurement", found.measurement_sd)):
        lower, upper = found.interval(0.95, of=of)
        np.testing.assert_allclose(upper - lower, 2.0 * 1.959964 * sd, rtol=1e-6)
    np.testing.assert_allclose(found.measurement_sd**2, found.sd**2 + 1.0)
    with pytest.raises(ValueError, match="`of` must be 'state' or 'measurement', got 'x'"):
        found.interval(of="x")


BAD = {
    "zero": (0, ValueError, "`ahead` must be a number of steps ≥ 1, got 0"),
    "negative": (-3, ValueError, "`ahead` must be a number of steps ≥ 1, got -3"),
    "truth": (True, ValueError, "`ahead` must be a number of steps ≥ 1, got True"),
    "half a step": (1.5, ValueError, r"`ahead` must have shape \(n,\)"),
    "nothing": (None, ValueError, r"`ahead` must have shape \(n,\)"),
    "past": ([3.0], ValueError, "`ahead` must be later than the last time of the series, got 3.0"),
    "the last": ([N - 1.0], ValueError, "`ahead` must be later"),
    "missing": ([99.0, np.nan], ValueError, "`ahead` must all be given, got nan in row 1"),
    "dates": (
        pandas.date_range("2020", periods=1),
        TypeError,
        "`ahead` must be numbers like those fitted, got dates",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_horizons(case):
    ahead, kind, message = BAD[case]
    model = Filter(**MODEL).fit(np.arange(N), VALUES)
    with pytest.raises(kind, match=message) as caught:
        model.forecast(ahead)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("zone", [None, "Europe/Paris"])
@pytest.mark.parametrize("kind", [pandas.DatetimeIndex, pandas.Series, list, np.asarray])
def test_later_dates_have_a_zone_where_those_fitted_have_one(zone, kind):
    index = pandas.date_range("2024-01-01", periods=N, tz=zone)
    model = Filter(**MODEL).fit(pandas.Series(VALUES, index=index))
    later = ["2024-02-01", "2024-02-02"]
    other = pandas.DatetimeIndex(later, tz="UTC" if zone is None else None)
    message = f"`ahead` must be dates {'with' if zone else 'without'} a time zone like those fitted"
    with pytest.raises(ValueError, match=message):
        model.forecast(kind(other))
    same = pandas.DatetimeIndex(later, tz=None if zone is None else "Asia/Tokyo")
    assert len(model.forecast(kind(same)).mean) == 2
