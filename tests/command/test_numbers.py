"""Columns of numbers: missing cells, decimal signs, integers of 64 bits, and what is no number."""

import re

import numpy as np
import pytest

MISSING = ["", "  ", "NA", "na", "N/A", "NaN", "nan", "NULL", "None", ".", " Na "]


@pytest.mark.parametrize("cell", MISSING)
def test_missing_cells(table, cell):
    found = table(["t,z", f"0,{cell}", f'1,"{cell}"', "2,1"])
    np.testing.assert_array_equal(found.values["z"], [np.nan, np.nan, 1.0])


def test_cells_that_a_row_lacks_are_missing(table):
    np.testing.assert_array_equal(table(["t,z", "0", "1,1"]).values["z"], [np.nan, 1.0])


@pytest.mark.parametrize(
    "cell", ["1", "-1", "+1", " 1 ", "1.", ".5", "-.5", "1e3", "1E-3", "-1.5e+3", "1e308", "5e-324"]
)
def test_numbers(table, cell):
    found = table(["t,z", f"0,{cell}", f"1,{cell}"])
    np.testing.assert_array_equal(found.values["z"], [float(cell)] * 2)
    times = table(["t,z", f"{cell},0", f"{cell},1"]).times
    np.testing.assert_array_equal(times, [float(cell)] * 2)
    assert times.dtype == (np.int64 if cell.strip().strip("+-").isdigit() else np.float64)


def test_every_digit_of_a_number_counts(table):
    values = np.random.default_rng(0).normal(size=1000) * 10.0 ** np.arange(-300, 200, 0.5)
    found = table(["t,z", *(f"{z!r},{z!r}" for z in values.tolist())])
    np.testing.assert_array_equal(found.values["z"], values)
    np.testing.assert_array_equal(found.times, values)


def test_integers_of_64_bits_are_exact(table, refusal):
    times = [1_700_000_000_000_000_001, 1_700_000_000_000_000_002, -(2**63), 2**63 - 1]
    found = table(["t,z", *(f"{t},1" for t in times)])
    assert found.times.dtype == np.int64
    assert found.times.tolist() == times
    for beyond in (2**63, -(2**63) - 1):
        message = refusal(["t,z", "0,1", f"{beyond},1"])
        assert message == (
            f'row 3, column "t": expected an integer of at most 64 bits, got {beyond}.'
        )


@pytest.mark.parametrize(
    "cell",
    [
        "high",
        "inf",
        "-inf",
        "Infinity",
        "1e400",
        "1_000",
        "0x10",
        "1 000",
        "1.2.3",
        "5%",
        "1-2",
        "−",
    ],
)
def test_what_is_no_number(refusal, cell):
    message = refusal(["t,z", "0,1", f"1,{cell}"])
    assert message == f'row 3, column "z": expected a number or an empty cell, got "{cell}".'
    message = refusal(["t,z", "0,1", f"{cell},1"])
    assert message == f'row 3, column "t": expected a number, as in the first row, got "{cell}".'


def test_a_message_shows_the_beginning_of_a_long_cell(refusal):
    assert refusal(["t,z", f"0,{'x' * 10_000}"]).endswith(f'got "{"x" * 60}…".')


def test_a_row_without_a_time(refusal):
    expected = 'column "t": expected a time, got nothing. Remove the row.'
    assert refusal(["t,z", ",1"]) == f"row 2, {expected}"
    assert refusal(["t,z", "0,1", "NA,1"]) == f"row 3, {expected}"
    assert refusal(["t,z", "2024-01-01,1", ",1"]) == f"row 3, {expected}"


@pytest.mark.parametrize("rows", [[], ["0,"], ["0,NA", "1,"]])
def test_a_column_without_numbers(refusal, rows):
    assert refusal(["t,z", *rows]) == f'column "z" holds no number in {len(rows)} rows.'


HINT = "Pass --decimal , if its comma is a decimal sign."
SAID = "decimal signs are commas"


@pytest.mark.parametrize("separator", [";", "\t", "|"])
@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["0,5", "-1,25"], [0.5, -1.25]),
        (["0,5", "2"], [0.5, 2.0]),
        (["", "1,5e-3"], [np.nan, 0.0015]),
        ([",5", "+3,"], [0.5, 3.0]),
        (["1,234", "0,5"], [1.234, 0.5]),
        (["1234,567", "1"], [1234.567, 1.0]),
        (["0,123", "1"], [0.123, 1.0]),
    ],
)
def test_decimal_commas_are_found(table, separator, cells, values):
    lines = [f"t{separator}z", *(f"{i}{separator}{cell}" for i, cell in enumerate(cells))]
    found = table(lines)
    np.testing.assert_array_equal(found.values["z"], values)
    assert (found.decimal, found.notes[-1]) == (",", SAID)
    times = table([f"z{separator}t", *(f"{cell}{separator}{cell}" for cell in cells if cell)]).times
    np.testing.assert_array_equal(times, [x for x in values if np.isfinite(x)])


def test_decimal_commas_are_found_in_all_columns_together(table):
    found = table(["t;z;y", "0,5;1,234;2,345", "1;5,678;"], "z", "y")
    np.testing.assert_array_equal(found.times, [0.5, 1.0])
    np.testing.assert_array_equal(found.values["y"], [2.345, np.nan])


def test_dates_do_not_hide_decimal_commas(table):
    found = table(["t;z", "01.02.2024 12:00:00,5;0,5", "02.02.2024;1,5"])
    np.testing.assert_array_equal(found.values["z"], [0.5, 1.5])


def test_decimal_points_beside_other_separators(table):
    found = table(["t;z", "0;0.5", "1;1.234"])
    np.testing.assert_array_equal(found.values["z"], [0.5, 1.234])
    assert (found.decimal, SAID in found.notes) == (".", False)


@pytest.mark.parametrize("cells", [["1,234"], ["1,234", "-12,345"], ["123,456", "7"]])
def test_commas_that_may_be_thousands(table, refusal, cells):
    lines = ["t;z", *(f"{i};{cell}" for i, cell in enumerate(cells))]
    assert refusal(lines) == (
        f'row 2, column "z": "{cells[0]}" may have a decimal comma or be thousands. Pass --decimal '
        ", or remove the commas."
    )
    values = [float(cell.replace(",", ".")) for cell in cells]
    np.testing.assert_array_equal(table(lines, decimal=",").values["z"], values)
    assert refusal(lines, decimal=".").endswith(
        f'got "{cells[0]}". Pass --decimal , if its comma is a decimal sign.'
    )


HINT = "Pass --decimal , if its comma is a decimal sign."


@pytest.mark.parametrize(
    ("lines", "place"),
    [
        (["t;z", "0;1.5", "1;2,5"], 'row 3, column "z"'),
        (["t,z", '0,"1,5"'], 'row 2, column "z"'),
        (["t,z", "0,1", '"0,5",1'], 'row 3, column "t"'),
    ],
)
def test_commas_that_are_no_decimal_signs(refusal, lines, place):
    message = refusal(lines)
    assert message.startswith(f"{place}: expected ")
    assert message.endswith(HINT)


@pytest.mark.parametrize("decimal", [None, ".", ","])
@pytest.mark.parametrize("cell", ["1.234,5", "1,234.5", "-1,005,364.6"])
def test_separators_of_thousands(refusal, cell, decimal):
    message = refusal(["t;z", f"0;{cell}", "1;2"], decimal=decimal)
    assert message.startswith('row 2, column "z": expected ')
    assert message.endswith(f'got "{cell}". Remove the separators of its thousands.')


def test_decimal_signs_that_are_given(table, refusal):
    found = table(["t,z", '0,"1,5"', '1,"1,234"', "2,7"], decimal=",")
    np.testing.assert_array_equal(found.values["z"], [1.5, 1.234, 7.0])
    assert (found.decimal, found.notes) == (",", ())
    message = refusal(["t;z", "0;1,5", "1;1.5"], decimal=",")
    assert message == (
        'row 3, column "z": expected a number or an empty cell, got "1.5". Decimal signs are '
        "commas here; pass --decimal . if they are points."
    )
    assert re.search(HINT, refusal(["t;z", "0;1,5"], decimal="."))


def test_dates_of_eight_digits_are_numbers_unless_a_format_is_given(table):
    lines = ["t,z", "20240131,1", "20240201,2"]
    found = table(lines)
    assert found.times.tolist() == [20240131, 20240201]
    assert found.notes == (
        "times are read as numbers; if they are dates, pass --date-format %Y%m%d",
    )
    assert table(["t,z", "20240131,1", "20249901,2"]).notes == ()
    days = table(lines, date_format="%Y%m%d").times
    np.testing.assert_array_equal(np.diff(days), np.timedelta64(1, "D"))
