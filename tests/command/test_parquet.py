"""Tables in Parquet files: types of times and values, zones, and what is refused."""

import datetime
import decimal
import io

import numpy as np
import pytest

pytest.importorskip("pyarrow")
import pandas as pd

DAYS = pd.date_range("2024-01-30", periods=3)
VALUES = [1.5, np.nan, -3.0]


def packed(times, values=VALUES, **more):
    buffer = io.BytesIO()
    pd.DataFrame({"t": times, "z": values, **more}).to_parquet(buffer)
    return buffer.getvalue()


def test_parquet_is_known_by_its_content(table):
    found = table(packed([0, 1, 2], more=["a", "b", None]))
    np.testing.assert_array_equal(found.values["z"], VALUES)
    assert found.times.tolist() == [0, 1, 2]
    assert (found.header, found.notes) == (("t", "z", "more"), ())


@pytest.mark.parametrize(
    ("times", "dtype"),
    [
        (np.asarray([-(2**63), 0, 2**63 - 1]), "int64"),
        (np.asarray([0, 1, 2], dtype="uint8"), "int64"),
        (pd.array([0, 1, 2], dtype="Int32"), "int64"),
        (np.asarray([0, 1, 2], dtype="float32"), "float64"),
        (["0.5", "1", "2"], "float64"),
        (["7", "8", "9"], "int64"),
        ([decimal.Decimal("0.25"), decimal.Decimal(1), decimal.Decimal(2)], "float64"),
    ],
)
def test_times_that_are_numbers(table, times, dtype):
    found = table(packed(times))
    assert (found.times.dtype, found.dates) == (dtype, None)
    np.testing.assert_array_equal(
        found.times, [float(t) if dtype != "int64" else int(t) for t in times]
    )


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin", "+05:30"])
def test_times_that_are_dates(table, unit, zone):
    days = DAYS.as_unit(unit)
    found = table(packed(days.tz_localize(zone) if zone else days))
    expected = days.tz_localize(zone).tz_convert("UTC").tz_localize(None) if zone else days
    np.testing.assert_array_equal(found.times, expected.to_numpy())
    assert found.dates.zoned == (zone is not None)
    assert found.notes == (("times are in UTC",) if zone else ())


@pytest.mark.parametrize(
    "times", [[day.date() for day in DAYS], [f"{day:%d.%m.%Y}" for day in DAYS]]
)
def test_times_that_are_days_or_text(table, times):
    assert isinstance(times[0], str | datetime.date)
    np.testing.assert_array_equal(table(packed(times)).times, DAYS.to_numpy())


def test_the_index_of_a_frame_may_be_the_time(table):
    buffer = io.BytesIO()
    pd.DataFrame({"z": VALUES}, index=DAYS.rename("t")).to_parquet(buffer)
    np.testing.assert_array_equal(table(buffer.getvalue()).times, DAYS.to_numpy())


@pytest.mark.parametrize("kind", ["smooth", "forecast"])
@pytest.mark.parametrize(
    "index", [range(40, 80), [*range(20, 40), *range(20)], [7] * 40], ids=["cut", "mixed", "same"]
)
def test_results_do_not_depend_on_an_index_without_a_name(run, tmp_path, index, kind):
    """Rows of a frame that was filtered, shuffled or concatenated."""
    times = pd.date_range("2024-01-30", periods=40)[::-1]
    values = np.sin(np.arange(40.0))
    values[7] = 90.0
    frame = pd.DataFrame({"t": times, "z": values})
    found = []
    for rows in (frame, frame.set_axis(index)):
        rows.to_parquet(tmp_path / "a.parquet")
        columns = ("--time", "t", "--value", "z", "--process-noise", 0.1, "--decay", 0.0)
        steps = ("--steps", 2) if kind == "forecast" else ()
        options = (*steps, "--output", tmp_path / "b.csv", "--force")
        code, out, err = run(kind, tmp_path / "a.parquet", *columns, *options)
        assert code == 0, err
        found.append((out, (tmp_path / "b.csv").read_text()))
    assert found[0] == found[1]
    assert "t 2024-01-30 00:00:00 to 2024-03-09 00:00:00" in found[0][0]


def test_an_index_with_the_name_of_a_column(refusal):
    buffer = io.BytesIO()
    frame = pd.DataFrame({"t": [0, 1, 2], "z": VALUES})
    frame.set_index("t", drop=False).to_parquet(buffer)
    message = 'column "t" stands twice in the header, which holds "t", "t", "z".'
    assert refusal(buffer.getvalue()) == message


@pytest.mark.parametrize(
    "values",
    [
        np.asarray([1, 2, 3], dtype="int16"),
        np.asarray([1, 2, 3], dtype="float32"),
        pd.array([1, None, 3], dtype="Int64"),
        pd.array([1.5, None, 3], dtype="Float32"),
        ["1.5", "NA", None],
        [decimal.Decimal("1.5"), None, decimal.Decimal(3)],
    ],
)
def test_values(table, values):
    found = table(packed([0, 1, 2], values)).values["z"]
    expected = [np.nan if pd.isna(x) or x == "NA" else float(x) for x in values]
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.float64


NUMBERS, NO_TIME = "a column of numbers, got one of", "a time, got nothing. Remove the row."
NO_NUMBER = "a number or an empty cell, got"


@pytest.mark.parametrize(
    ("values", "place", "message"),
    [
        ([True, False, True], 'row 1, column "z"', f"{NUMBERS} bool."),
        (DAYS - DAYS[0], 'row 1, column "z"', f"{NUMBERS} timedelta64[us]."),
        (DAYS, 'row 1, column "z"', f"{NUMBERS} datetime64[us]."),
        ([0, 1, np.inf], 'row 3, column "z"', f'{NO_NUMBER} "inf".'),
        (["1", "high", "2"], 'row 2, column "z"', f'{NO_NUMBER} "high".'),
        ([True, False, True], 'row 1, column "t"', f"{NUMBERS} bool."),
        ([0, -np.inf, 2], 'row 2, column "t"', f'{NO_NUMBER} "-inf".'),
        ([0, np.nan, 2], 'row 2, column "t"', NO_TIME),
        ([*DAYS[:2], pd.NaT], 'row 3, column "t"', NO_TIME),
        (["1", None, "2"], 'row 2, column "t"', NO_TIME),
        (pd.array([1, 2, None], dtype="Int64"), 'row 3, column "t"', NO_TIME),
    ],
)
def test_refused(refusal, values, place, message):
    columns = ([0, 1, 2], values) if "z" in place else (values, VALUES)
    assert refusal(packed(*columns)) == f"{place}: expected {message}"


@pytest.mark.parametrize("values", [[np.nan] * 3, [None] * 3, [], DAYS[:0]])
def test_a_column_without_numbers(refusal, values):
    rows = len(values)
    message = refusal(packed(range(rows), values))
    assert message == f'column "z" holds no number in {rows} rows.'


def test_columns_and_files(refusal):
    assert refusal(packed([0, 1, 2]), "y") == (
        'column "y" is not in the header, which holds "t", "z".'
    )
    assert refusal(packed([0, 1, 2])[:-20]).startswith("is a damaged Parquet file: ")
    assert refusal(b"PAR1").startswith("is a damaged Parquet file: ")


def test_without_pyarrow(refusal, monkeypatch):
    content = packed([0, 1, 2])
    monkeypatch.setattr("afa_core.command.parquet.find_spec", lambda name: None)
    assert refusal(content) == ("is Parquet, which needs pyarrow: pip install pyarrow, or use CSV.")
