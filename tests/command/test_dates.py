"""Columns of dates: formats, the order of day and month, zones, and what is refused."""

import calendar

import numpy as np
import pytest

from afa_core.command.dates import FORMATS
from afa_core.command.errors import CommandError
from afa_core.command.results import _text
from afa_core.command.table import read_moments

TRIED = f"Tried {FORMATS}. Pass --date-format for another."

WRITTEN = {
    "2024-01-31": "2024-01-31",
    "2024-1-3": "2024-01-03",
    "2024-01": "2024-01-01",
    "1871-12": "1871-12-01",
    "2024/01/31": "2024-01-31",
    "2024/01": "2024-01-01",
    "2024-01-31T10": "2024-01-31T10",
    "2024-01-31T10:20": "2024-01-31T10:20",
    "2024-01-31 10:20": "2024-01-31T10:20",
    "2024-01-31  9:20:30": "2024-01-31T09:20:30",
    "2024-01-31t10:20:30.5": "2024-01-31T10:20:30.5",
    "2024-01-31T10:20:30,25": "2024-01-31T10:20:30.25",
    "2024-01-31T10:20:30.123456789": "2024-01-31T10:20:30.123456789",
    "2024/01/31 23:59:59.999": "2024-01-31T23:59:59.999",
    "20240131T102030": "2024-01-31T10:20:30",
    "20240131 1020": "2024-01-31T10:20",
    "2024-01-31 12:30 AM": "2024-01-31T00:30",
    "2024-01-31 12:30 PM": "2024-01-31T12:30",
    "2024-01-31 01:30pm": "2024-01-31T13:30",
    "2024-01-31 11:30 Am": "2024-01-31T11:30",
    "31.01.2024": "2024-01-31",
    "1.2.2024": "2024-02-01",
    "01.02.2024 10:20": "2024-02-01T10:20",
    "31/01/2024": "2024-01-31",
    "31-01-2024 10:20:30": "2024-01-31T10:20:30",
    "1/31/2024": "2024-01-31",
    "01/31/2024 1:20 PM": "2024-01-31T13:20",
    "07/07/2024": "2024-07-07",
    "31 Jan 2024": "2024-01-31",
    "31-Jan-2024": "2024-01-31",
    "3 SEPTEMBER 2024 10:20": "2024-09-03T10:20",
    "Wed, 31 Jan 2024 10:20:30": "2024-01-31T10:20:30",
    "Jan 31, 2024": "2024-01-31",
    "January 31 2024": "2024-01-31",
    "Sept. 3, 2024 11:20 PM": "2024-09-03T23:20",
    "Jan 2024": "2024-01-01",
    "2024-02-29": "2024-02-29",
}


@pytest.mark.parametrize("text", WRITTEN)
def test_formats(table, text):
    found = table(["t;z", f"{text};1", f" {text} ;2"])
    expected = np.asarray(WRITTEN[text], dtype="datetime64[ns]")
    assert found.times.dtype == "datetime64[ns]"
    np.testing.assert_array_equal(found.times, [expected, expected])
    assert not [note for note in found.notes if "UTC" in note]
    assert found.cells["t"] == [text, f" {text} "]


@pytest.mark.parametrize("month", range(1, 13))
def test_names_of_months(table, month):

    names = {
        calendar.month_name[month],
        calendar.month_abbr[month],
        calendar.month_name[month].upper(),
    }
    for name in names:
        for text in (f"5 {name} 2024", f"{name} 5, 2024", f"{name} 2024"):
            (time,) = table(["t;z", f"{text};1"]).times
            assert str(time)[:7] == f"2024-{month:02}"


def test_every_day_of_some_years(table):
    days = np.arange("1999-12-01", "2001-03-01", dtype="datetime64[D]")
    for style in ("{0:%Y-%m-%d}", "{0:%d.%m.%Y}", "{0:%d/%m/%Y}", "{0:%m/%d/%Y}", "{0:%d %b %Y}"):
        found = table(["t;z", *(f"{style.format(day)};1" for day in days.tolist())])
        np.testing.assert_array_equal(found.times, days)


def test_cells_of_one_column_may_be_of_different_precision(table):
    lines = [
        "2024-01-01",
        "2024-01-01 12",
        "2024-01-01 12:00:00.5",
        "2024-01-01T12:00:00.123456789",
    ]
    found = table(["t,z", *(f"{line},1" for line in lines)])
    elapsed = (found.times - found.times[0]).astype("timedelta64[ns]").astype(np.int64)
    noon = 43_200_000_000_000
    assert elapsed.tolist() == [0, noon, noon + 500_000_000, noon + 123_456_789]


def test_years_beyond_the_range_of_nanoseconds(table):
    found = table(["t,z", "1066-10-14,1", "2500-01-01,2"])
    assert found.times.astype("datetime64[D]").astype(str).tolist() == ["1066-10-14", "2500-01-01"]


ORDER = "dates are read as {}; --date-format selects another order"


@pytest.mark.parametrize("sign", "/-")
def test_the_order_of_day_and_month_is_that_of_the_column(table, sign):
    dates = ["03/04/2024", "12/05/2024", "13/06/2024"]
    found = table(["t,z", *(f"{date.replace('/', sign)},1" for date in dates)])
    assert found.times.astype("datetime64[D]").astype(str).tolist() == [
        *("2024-04-03", "2024-05-12", "2024-06-13")
    ]
    assert found.notes == (ORDER.format("DD/MM/YYYY"),)
    dates = ["03/04/2024", "05/12/2024", "06/13/2024"]
    found = table(["t,z", *(f"{date.replace('/', sign)},1" for date in dates)])
    assert found.times.astype("datetime64[D]").astype(str).tolist() == [
        *("2024-03-04", "2024-05-12", "2024-06-13")
    ]
    assert found.notes == (ORDER.format("MM/DD/YYYY"),)


@pytest.mark.parametrize(
    ("cell", "formats"),
    [
        ("03/04/2024", '"%d/%m/%Y" or "%m/%d/%Y"'),
        ("03-04-2024", '"%d-%m-%Y" or "%m-%d-%Y"'),
        ("03/04/2024 10:20", '"%d/%m/%Y %H:%M" or "%m/%d/%Y %H:%M"'),
        ("03/04/2024 10:20:30.5", '"%d/%m/%Y %H:%M:%S.%f" or "%m/%d/%Y %H:%M:%S.%f"'),
        ("03/04/2024 10:20 PM", '"%d/%m/%Y %I:%M %p" or "%m/%d/%Y %I:%M %p"'),
        ("03/04/2024 10:20 +0100", '"%d/%m/%Y %H:%M %z" or "%m/%d/%Y %H:%M %z"'),
    ],
)
def test_an_order_that_is_not_clear(table, refusal, cell, formats):
    lines = ["t,z", f"05/05{cell[5:].replace('-', '/')},1", f"{cell},2"]
    if "-" in cell:
        lines = ["t,z", f"05-05{cell[5:]},1", f"{cell},2"]
    assert refusal(lines) == (
        f'row 3, column "t": "{cell}" may be DD/MM/YYYY or MM/DD/YYYY, as all of its column. Pass '
        f"--date-format {formats}."
    )
    for date_format, day in zip(
        formats.split('"')[1::2], ("2024-04-03", "2024-03-04"), strict=True
    ):
        assert str(table(lines, date_format=date_format).times[1]).startswith(day)


def test_an_order_that_changes(refusal):
    assert refusal(["t,z", "03/04/2024,1", "13/04/2024,1", "04/14/2024,1"]) == (
        'row 4, column "t": "04/14/2024" has day and month in another order than "13/04/2024". '
        "Write all dates alike."
    )


ZONES = {
    **{"Z": 0, " UTC": 0, " gmt": 0, "+00:00": 0},
    **{"+01:00": 60, "-0530": -330, "+14": 840, " -03": -180},
}


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("date", ["2024-01-31T12:00", "31.01.2024 12:00:00", "31 Jan 2024 12:00"])
def test_a_zone_is_converted_to_utc(table, zone, date):
    found = table(["t,z", f"{date}{zone},1"])
    noon = np.datetime64("2024-01-31T12:00", "ns")
    assert found.times[0] == noon - np.timedelta64(ZONES[zone], "m")
    (note,) = found.notes
    assert note.startswith("times are in UTC")
    assert ("(from " in note) == (zone.strip()[0] in "+-")


def test_offsets_may_change_with_the_season(table):
    found = table(["t,z", "2024-03-31T01:59:59+01:00,1", "2024-03-31T03:00:00+02:00,2"])
    assert np.diff(found.times) == np.timedelta64(1, "s")
    assert found.notes == ("times are in UTC (from +01:00, +02:00)",)


@pytest.mark.parametrize("zones", [("Z", ""), ("", "+01:00"), ("+01:00", "")])
def test_zones_of_some_rows_only(refusal, zones):
    dates = [f"2024-01-0{index + 1}T00:00{zone}" for index, zone in enumerate(zones)]
    presence = "with a zone" if zones[0] else "without a zone"
    assert refusal(["t,z", *(f"{date},1" for date in dates)]) == (
        f'row 3, column "t": expected a date {presence}, as the rows before have, got '
        f'"{dates[1]}". Give all dates a zone, or none.'
    )


@pytest.mark.parametrize(
    "cell",
    [
        *("2023-02-29", "2024-13-01", "2024-00-10", "2024-04-31", "2024-01-01 24:00"),
        *("2024-01-01 10:60", "2024-01-01 10:20:60", "2024-01-01 13:00 PM", "2024-01-01 0:10 AM"),
        *("31.04.2024", "32.01.2024", "31 Foo 2024", "31/01/24", "2024-01-01 Europe/Berlin"),
        *("2024-01-01 10:00 CET", "2024-01/01", "Monday", "2024-W05", "12:30", "yesterday"),
        *("2024-01-01T00:00:00.1234567890", "2024-01-01+01:00", "2024-01-01 10:00 2024"),
        *("٢٠٢٤-٠١-٠١", "01/2024", "Jan 2024 31", "1 ſep 2024"),
    ],
)
def test_what_is_no_date(refusal, cell):
    for lines, row in (([f"{cell};1"], 2), (["2024-01-01;1", f"{cell};1"], 3)):
        message = refusal(["t;z", *lines])
        assert message.startswith(f'row {row}, column "t": expected a')
        assert message.endswith(f'date, got "{cell}". {TRIED}')


def test_a_zone_that_is_none(refusal):
    for zone in ("+25:00", "-01:60"):
        cell = f"2024-01-01T00:00{zone}"
        message = refusal(["t,z", "2024-01-01T00:00Z,1", f"{cell},1"])
        assert message == f'row 3, column "t": expected a date, got "{cell}". {TRIED}'


def test_dates_are_all_of_one_kind(refusal):
    for second in ("01.02.2024", "2024", "7", "1 Feb 2024"):
        message = refusal(["t,z", "2024-01-01,1", f"{second},2"])
        assert message == f'row 3, column "t": expected a date, got "{second}". {TRIED}'


def test_a_format_that_is_given(table, refusal):
    found = table(["t,z", "24.31.01 07h,1", "24.28.02 19h,2"], date_format="%y.%d.%m %Hh")
    assert found.times.astype("datetime64[h]").astype(str).tolist() == [
        *("2024-01-31T07", "2024-02-28T19")
    ]
    assert found.notes == ()
    message = refusal(["t,z", "2024-01-31,1", "2024-02-30,1"], date_format="%Y-%m-%d")
    assert message == 'row 3, column "t": expected a date, got "2024-02-30". Tried \'%Y-%m-%d\'.'
    zoned = table(["t,z", "31/01/2024 00:00 +0200,1"], date_format="%d/%m/%Y %H:%M %z")
    assert str(zoned.times[0]).startswith("2024-01-30T22")
    assert zoned.notes == ("times are in UTC",)
    with pytest.raises(CommandError, match="argument --date-format: '%Q' is no format of dates"):
        table(["t,z", "2024-01-31,1"], date_format="%Q")


def test_moments_of_an_option_are_read_as_the_column_is(table):
    def moments(lines, *texts, **layout):
        return read_moments(
            texts, table(["t;z", *(f"{line};1" for line in lines)], **layout), "--at"
        )

    def days(*arguments, **layout):
        return moments(*arguments, **layout).astype("datetime64[D]").astype(str).tolist()

    assert moments(["1", "2"], "5", "7").dtype == np.int64
    assert moments(["1", "2"], "5.5").tolist() == [5.5]
    assert moments(["1,5", "2"], "5,5").tolist() == [5.5]
    assert days(["2024-01-01"], "2024-02-03", "2024-03") == ["2024-02-03", "2024-03-01"]
    assert days(["13/01/2024"], "02/03/2024") == ["2024-03-02"]
    assert days(["01/13/2024"], "02/03/2024") == ["2024-02-03"]
    assert days(["13.01.2024"], "2024-03-02") == ["2024-03-02"]
    assert days(["240113"], "240302", date_format="%y%m%d") == ["2024-03-02"]
    for lines, text, message in (
        (["1", "2"], "2024-01-01", 'argument --at: "2024-01-01": expected a number, as in the'),
        (["2024-01-01"], "5", 'argument --at: "5": expected a number or a date, got "5". Tried'),
        (["2024-01-01T00Z"], "2024-02-01", "expected a date with a zone, as the rows before have"),
        (["2024-01-01"], "2024-02-01T00Z", "expected a date without a zone, as the rows before"),
    ):
        with pytest.raises(CommandError, match=message):
            moments(lines, text)


@pytest.mark.parametrize("zone", ["", "Z"])
def test_times_that_are_written_can_be_read(table, zone):
    """Microseconds of the years 1000 to 9000."""
    micros = np.random.default_rng(0).integers(-30_610, 221_845, 50) * 10**6 * 10**6 + 123_457
    times = np.sort(micros).astype("datetime64[us]")
    found = table(["t,z", *(f"{each}{zone},1" for each in times)])
    np.testing.assert_array_equal(found.times, times)
    assert _text(found, found.times) == [f"{each}{zone}" for each in times]
