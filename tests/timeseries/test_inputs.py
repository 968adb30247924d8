"""Times and values in every form that is taken, and what is said of those that are not."""

import datetime as dt
import warnings

import numpy as np
import pytest

from afa_core.timeseries import Filter

pandas = pytest.importorskip("pandas")
MODEL = Filter(decay=0.1, process=0.3, measurement=1.0, level=0.5)
VALUES = np.asarray([1.0, np.nan, 3.0, 2.0, 4.0])
N = len(VALUES)
DAYS = np.arange(N, dtype=float)
MIDNIGHT = [dt.datetime(2020, 2, 26) + dt.timedelta(days=k) for k in range(N)]
RIGHT = MODEL.filter(DAYS, VALUES)
UTC, EAST = dt.UTC, dt.timezone(dt.timedelta(hours=5))

TIMES = {
    "list": list(DAYS),
    "int8": np.arange(N, dtype=np.int8),
    "uint64": np.arange(N, dtype=np.uint64),
    "float32": DAYS.astype(np.float32),
    "large integers": 2**62 + np.arange(N),
    "index": pandas.RangeIndex(N),
    "nullable": pandas.Series(range(N), dtype="Int64"),
    "unmasked": np.ma.masked_array(DAYS),
    "datetimes": MIDNIGHT,
    "dates": [x.date() for x in MIDNIGHT],
    "datetimes of a zone": [x.replace(tzinfo=UTC) for x in MIDNIGHT],
    "datetimes of several zones": [
        x.replace(tzinfo=UTC).astimezone(EAST if k % 2 else UTC) for k, x in enumerate(MIDNIGHT)
    ],
    "timestamps": [pandas.Timestamp(x, tz="UTC") for x in MIDNIGHT],
    "index of dates": pandas.DatetimeIndex(MIDNIGHT),
    "index of a zone": pandas.DatetimeIndex(MIDNIGHT, tz="UTC").tz_convert("Asia/Kolkata"),
    "series of dates": pandas.Series(MIDNIGHT),
    "periods": pandas.period_range("2020-02-26", periods=N, freq="D"),
    "durations": pandas.timedelta_range("7D", periods=N),
}


@pytest.mark.parametrize("kind", TIMES)
def test_times(kind):
    found = MODEL.filter(TIMES[kind], VALUES)
    np.testing.assert_allclose(found.mean, RIGHT.mean, rtol=1e-9)
    np.testing.assert_allclose(found.sd, RIGHT.sd, rtol=1e-9)


@pytest.mark.parametrize("dtype", ["D", "h", "m", "s", "ms", "us", "ns"])
@pytest.mark.parametrize("unit", ["W", "D", "h", "s"])
def test_units_of_dates(dtype, unit):
    days = {"W": 7.0, "D": 1.0, "h": 1.0 / 24.0, "s": 1.0 / 86400.0}[unit]
    model = Filter(0.1 * days, 0.3 * days, 1.0, 0.5, unit=unit)
    dates = np.asarray(MIDNIGHT, dtype=f"datetime64[{dtype}]")
    np.testing.assert_allclose(model.filter(dates, VALUES).mean, RIGHT.mean, rtol=1e-9)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.float16])
def test_differences_are_not_limited_to_the_dtype_of_times(dtype):
    times = np.asarray([-100, -99, 0, 1, 100])
    found = MODEL.filter(times.astype(dtype), VALUES)
    np.testing.assert_array_equal(found.sd, MODEL.filter(times.astype(float), VALUES).sd)


def test_months_and_picoseconds():
    months = np.arange(N).astype("datetime64[M]")
    days = months.astype("datetime64[D]")
    np.testing.assert_array_equal(MODEL.filter(months, VALUES).sd, MODEL.filter(days, VALUES).sd)
    fine = (np.arange(N) * 86_400 * 10**12).astype("datetime64[ps]")
    np.testing.assert_allclose(MODEL.filter(fine, VALUES).mean, RIGHT.mean, rtol=1e-9)


def test_integer_nanoseconds_are_exact():
    start = 1_700_000_000_000_000_000
    nanoseconds = start + np.asarray([0, 1, 3, 4, 9])
    model = Filter(decay=0.1, process=0.3, measurement=1.0, level=0.5)
    right = model.filter(np.asarray([0.0, 1.0, 3.0, 4.0, 9.0]), VALUES)
    np.testing.assert_array_equal(model.filter(nanoseconds, VALUES).mean, right.mean)
    dates = Filter(decay=0.1, process=0.3, measurement=1.0, level=0.5, unit="ns")
    found = dates.filter(nanoseconds.astype("datetime64[ns]"), VALUES)
    np.testing.assert_array_equal(found.mean, right.mean)


GAPS = {
    "list": list(VALUES),
    "masked": np.ma.masked_array(np.nan_to_num(VALUES, nan=99.0), np.isnan(VALUES)),
    "masked integers": np.ma.masked_array(
        np.nan_to_num(VALUES, nan=99.0).astype(int), np.isnan(VALUES)
    ),
    "long double": VALUES.astype(np.longdouble),
    "series": pandas.Series(VALUES),
    "nullable integers": pandas.Series([1, None, 3, 2, 4], dtype="Int64"),
    "nullable floats": pandas.Series([1.0, None, 3.0, 2.0, 4.0], dtype="Float32"),
    "integers of pandas": pandas.DataFrame({"a": pandas.array([1, None, 3, 2, 4], dtype="Int8")}),
}


@pytest.mark.parametrize("kind", GAPS)
def test_values(kind):
    found = MODEL.filter(DAYS, GAPS[kind])
    np.testing.assert_allclose(np.squeeze(np.asarray(found.mean)), RIGHT.mean, rtol=1e-9)
    assert np.isnan(np.squeeze(np.asarray(found.weight))[1])
    frame = found.to_frame()
    assert np.isnan(frame[[x for x in frame if "value" in x]].astype(float).to_numpy()[1, 0])


@pytest.mark.parametrize("robust", [True, False])
@pytest.mark.parametrize("frequency", [0.0, 0.3])
def test_half_precision_is_computed_in_single(frequency, robust, simulate):
    series = simulate(0.1, 3.0, frequency=frequency or None, n=80)
    half = (100.0 * series.values).astype(np.float16)
    model = Filter(0.1, 3e4, 1e4, 0.0, frequency, robust=robust)
    for kind in ("filter", "smooth"):
        one, other = (
            getattr(model, kind)(series.times, x) for x in (half, half.astype(np.float32))
        )
        for name in ("mean", "sd", "prediction", "prediction_sd", "weight", "outlier"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
            assert getattr(one, name).dtype == getattr(other, name).dtype
        assert np.all(np.isfinite(one.mean[10:]))


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_half_precision_of_other_libraries(name):
    torch = pytest.importorskip("torch")
    half = torch.asarray(VALUES).to(getattr(torch, name))
    found, right = (
        MODEL.smooth(torch.asarray(DAYS), x).mean for x in (half, half.to(torch.float32))
    )
    assert found.dtype == torch.float32
    assert torch.equal(found, right)
    fitted = Filter(0.1, 0.3, 1.0, 0.5).fit(torch.asarray(DAYS), half).forecast(1)
    assert fitted.mean.dtype == torch.float32


def test_parameters_of_half_precision_are_fitted_with_in_double(simulate):
    times, _, values, _ = simulate(n=80)
    half = np.asarray([0.1]).astype(np.float16)
    one, other = (
        Filter(x, None, x, robust=False).fit(60.0 * times, 1e3 * values)
        for x in (half, half.astype(np.float64))
    )
    assert one.log_likelihood_ == other.log_likelihood_


def test_pandas_in_and_out():
    index = pandas.date_range("2021-03-26", periods=N, tz="Europe/Berlin", name="when")
    frame = pandas.DataFrame({"a": VALUES, "b": VALUES[::-1]}, index=index)
    for found in (
        MODEL.filter(frame),
        MODEL.smooth(frame),
        Filter(**MODEL.get_params()).fit(frame).filter(),
    ):
        for x in (found.mean, found.sd, found.weight, found.outlier, found.residual):
            assert x.index.equals(index)
            assert x.index.freq == index.freq
            assert list(x.columns) == ["a", "b"]
        table = found.to_frame()
        assert table.index.equals(index)
        assert list(table.columns)[:3] == ["a_value", "a_mean", "a_sd"]
        assert table.shape == (N, 18)
    assert all(each.kind == "b" for each in found.outlier.dtypes)
    single = MODEL.filter(frame["b"])
    assert single.mean.name == "b"
    assert list(single.to_frame().columns)[:4] == ["value", "mean", "sd", "lower"]
    beside = MODEL.filter(DAYS, frame["b"])
    assert beside.mean.index.equals(index)


def test_rows_in_any_order():
    order = np.asarray([3, 0, 4, 1, 2])
    found = MODEL.filter(DAYS[order], VALUES[order], sort=True)
    np.testing.assert_array_equal(found.mean, RIGHT.mean[order])
    np.testing.assert_array_equal(found.values, VALUES[order])
    frame = MODEL.filter(pandas.Series(VALUES[order], index=DAYS[order]), sort=True).to_frame()
    np.testing.assert_array_equal(frame["mean"], RIGHT.mean[order])


def test_times_among_the_values():
    """A table that was read without an index has its times in a column."""
    given = {"day": np.arange(VALUES.size) * 1.5, "value": VALUES}
    table = pandas.DataFrame(given)
    with pytest.warns(UserWarning, match=r"'day' rises .* pass `table.set_index\('day'\)`"):
        Filter(0.0, 1.0, 1.0, 0.0).fit(table)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Filter(0.0, 1.0, 1.0, 0.0).fit(table.set_index("day"))
        Filter(0.0, 1.0, 1.0, 0.0).fit(table[["value"]])
        Filter(0.0, 1.0, 1.0, 0.0).fit(table["day"])


def test_plain_arrays_to_a_table():
    table = MODEL.filter(DAYS, np.stack([VALUES, VALUES], axis=-1)).to_frame(0.5)
    assert list(table.index) == list(DAYS)
    assert "1_upper" in table


def test_tables_with_two_columns_of_one_name():
    frame = pandas.DataFrame({"a": VALUES, "a_prediction": VALUES}, index=DAYS)
    for found, name in (
        (MODEL.filter(frame), "a_prediction_sd"),
        (
            Filter(**MODEL.get_params())
            .fit(frame.rename(columns={"a_prediction": "a_measurement"}))
            .forecast(1),
            "a_measurement_sd",
        ),
    ):
        with pytest.raises(ValueError, match=f"different names, got '{name}' twice") as caught:
            found.to_frame()
        assert str(caught.value).endswith("Rename it.")


def bad(times, values, kind, message):
    return times, values, kind, message


T, V = DAYS, VALUES
BAD = {
    "decreasing": bad(T[::-1], V, ValueError, "`times` must not decrease, got 3.0 in row 1 after"),
    "missing time": bad([0, 1, np.nan, 3, 4], V, ValueError, "`times` must all be .* row 2"),
    "infinite time": bad([0, 1, 2, 3, np.inf], V, ValueError, "`times` must all be .* row 4"),
    "no date": bad(
        np.asarray([*MIDNIGHT[:4], "NaT"], "datetime64[s]"), V, ValueError, "got NaT in row 4"
    ),
    "none": bad([*MIDNIGHT[:3], None, None], V, ValueError, "`times` must all be .* row 3"),
    "masked time": bad(
        np.ma.masked_array(T, [0, 1, 0, 0, 0]), V, ValueError, "got a masked one in row 1"
    ),
    "text": bad(["2020-01-01"] * N, V, TypeError, "`times` must be numbers or dates, got dtype"),
    "objects": bad(
        np.asarray(["2020-01-01"] * N, object), V, TypeError, "objects such as '2020-01-01'"
    ),
    "numbers as objects": bad(np.arange(N).astype(object), V, TypeError, "objects such as 0"),
    "truth as time": bad([False] * N, V, TypeError, "`times` must be numbers .* dtype bool"),
    "some zones": bad(
        [MIDNIGHT[0].replace(tzinfo=UTC), *MIDNIGHT[1:]], V, ValueError, "all have a time zone"
    ),
    "span": bad([-(2**63), 0, 1, 2, 2**63 - 1], V, ValueError, "`times` must span less than"),
    "unsigned": bad(
        np.asarray([0, 1, 2, 3, 2**63], np.uint64), V, ValueError, "`times` must be less than"
    ),
    "table of times": bad(T[:, None], V, ValueError, r"`times` must have shape \(n,\)"),
    "length": bad(T, V[:3], ValueError, r"`values` must have shape \(5,\) or \(5, c\).*got \(3,\)"),
    "rank": bad(T, np.ones((N, 1, 1)), ValueError, r"`values` must have shape \(5,\)"),
    "nothing": bad([], [], ValueError, "`times` must have at least one row, got none"),
    "no columns": bad(T, np.ones((N, 0)), ValueError, "`values` must have a column or more"),
    "infinite": bad(T, [1, 2, np.inf, 4, 5], ValueError, "`values` must be finite.* row 2"),
    "words": bad(T, ["a"] * N, TypeError, "`values` must be numbers, got dtype <U1"),
    "none among values": bad(T, [1, None, 2, 3, 4], TypeError, "numbers, got dtype object"),
    "truth": bad(T, [True] * N, TypeError, "`values` must be numbers, got dtype bool"),
    "strings": bad(T, pandas.Series(["1"] * N), TypeError, "`values` must be numbers, got dtype"),
    "categories": bad(
        T, pandas.Series([1] * N, dtype="category"), TypeError, "numbers, got dtype category"
    ),
    "dates": bad(T, pandas.Series(MIDNIGHT), TypeError, "numbers, got dtype datetime64"),
    "columns of one name": bad(
        T,
        pandas.DataFrame(np.ones((N, 2)), columns=["a", "a"]),
        ValueError,
        "`values` must have columns of different names, got 'a' twice",
    ),
    "no values": bad(T, None, TypeError, "`values` must be given, got None"),
    "too large": bad(T, V * 1e160, ValueError, "`values` must be within"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    times, values, kind, message = BAD[case]
    with pytest.raises(kind, match=message) as caught:
        MODEL.filter(times, values)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize("kind", ["fit", "filter", "smooth"])
def test_values_need_their_times(kind):
    fitted = Filter(**MODEL.get_params()).fit(DAYS, VALUES)
    for values in (VALUES[::-1], pandas.Series(VALUES[::-1], index=DAYS)):
        with pytest.raises(TypeError, match="`times` must be given with `values`, got None"):
            getattr(fitted, kind)(values=values, **({"times": None} if kind == "fit" else {}))
        with pytest.raises(TypeError, match="`times` must be given with `values`, got None"):
            getattr(fitted, kind)(None, values)


@pytest.mark.parametrize("other", [1.0, np.nan])
@pytest.mark.parametrize("infinite", [np.inf, -np.inf])
@pytest.mark.parametrize("component", [0, 1])
def test_infinity_is_no_gap_in_a_pair(component, infinite, other):
    table = np.stack([VALUES, VALUES], axis=-1)
    table[3] = other
    table[3, component] = infinite
    whole = table[:, 0].astype(complex)
    whole.imag = table[:, 1]
    for frequency, values in ((0.3, table), (0.3, whole), (0.0, whole)):
        model = Filter(0.1, 0.3, 1.0, 0.5, frequency)
        with pytest.raises(ValueError, match=r"`values` must be finite, .* got .*inf.* in row 3"):
            model.filter(DAYS, values)


def test_pairs_need_two_columns():
    with pytest.raises(ValueError, match=r"`values` must have pairs of columns.*got 1 columns"):
        Filter(frequency=None).fit(DAYS, VALUES)
    with pytest.raises(ValueError, match=r"pairs of columns.*got 3 columns"):
        Filter(frequency=0.1).fit(DAYS, np.ones((N, 3)))


UNFIT = {
    "too few": ([1.0, 2.0], "must hold at least 4 measurements to fit decay.*, got 2"),
    "none": ([np.nan] * 9, "must hold at least 4 measurements.*, got 0"),
    "one value": ([7.0] * 9, "must vary to fit decay, process, measurement, got 7 only"),
    "large": (1e160 * np.arange(9.0), "vary by .*Pass them in another unit"),
    "small": (1e-160 * np.arange(9.0), "vary by .*Pass them in another unit"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_values_that_determine_nothing(case):
    values, message = UNFIT[case]
    frame = pandas.DataFrame({"good": np.arange(len(values)) ** 1.5, "worse": values})
    frame.index = np.arange(len(values))  # times, not a range
    frame = pandas.DataFrame({"worse": values}) if case == "too few" else frame
    with pytest.raises(ValueError, match=f'`values` of "worse" {message}') as caught:
        Filter().fit(frame)
    assert "\n" not in str(caught.value)


def test_one_time_determines_nothing():
    with pytest.raises(ValueError, match='`times` of "0" must vary to fit'):
        Filter().fit(np.zeros(9), np.arange(9.0))


@pytest.mark.parametrize("level", [0.0, 1.0, 2.0, -0.5, np.nan, np.inf, "a", None])
def test_levels_of_intervals(level):
    with pytest.raises(ValueError, match="`level` must be between 0 and 1, got "):
        RIGHT.interval(level)
    with pytest.raises(ValueError, match="`level` must be between 0 and 1, got "):
        RIGHT.to_frame(level)
    assert np.all(np.isfinite(RIGHT.interval(np.float32(0.9))[0]))
