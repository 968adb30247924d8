"""Bad input to `python -m afa_core filter`: one line, exit code 2, nothing written.

The kinds of bad cells and bad options have files of their own.
"""

import re

import pytest

COLUMNS = ("--time", "t", "--value", "z")
GOOD = ("t,z", "0,1", "1,2", "2,1", "3,3", "4,2")

CASES = {
    "no such column": (("t,y", "0,1"), r'column "z" is not in the header, which holds "t", "y"'),
    "column twice": (("t,z,z", "0,1,2"), r'column "z" stands twice in the header'),
    "empty file": ((), r'column "t" is not in the header, which holds nothing'),
    "no rows": (("t,z",), r'column "z" holds no number in 0 rows'),
    "no numbers": (("t,z", "0,", "1,NA"), r'column "z" holds no number in 2 rows'),
    "text": (("t,z", "0,1", "1,high"), r'row 3, column "z": expected a number .*, got "high"'),
    "infinite": (("t,z", "0,inf"), r'row 2, column "z": expected a number .*, got "inf"'),
    "decimal comma": (("t,z", "0,1,5"), r"row 2: has 3 cells, .* pass --decimal ,"),
    "a zone in some rows": (
        ("t,z", "2024-01-01,1", "2024-01-01T00Z,1"),
        r"row 3, .*without a zone",
    ),
    "month or day": (("t,z", "01/02/2024,1"), r'row 2, .* Pass --date-format "%d/%m/%Y" or'),
    "name of a result": (("t,z,z_weight", "0,1,2"), r'"z_weight" has the name of a result for "z"'),
    "text in time": (("t,z", "Monday,1"), r'row 2, column "t": expected a number .*"Monday"'),
    "no time": (("t,z", ",1"), r'row 2, column "t": expected a time, got nothing'),
    "too few": (("t,z", "0,1"), r"`values` of \"z\" must hold at least 4 measurements"),
    "constant": (
        ("t,z", *(f"{i},7" for i in range(9))),
        r"`values` of .* vary .*, got 7 only",
    ),
    "one time": (("t,z", *(f"1,{i}" for i in range(9))), r"`times` of \"z\" must vary"),
}


def assert_fails(result, message):
    """Check for exit code 2 and one line with the error."""
    code, out, err = result
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert re.search(message, err), err


@pytest.mark.parametrize("case", CASES)
def test_file(run, write, tmp_path, case):
    contents, message = CASES[case]
    data = write(*contents)
    assert_fails(run("filter", data, *COLUMNS), f"^afa_core: .*data.csv: .*{message}")
    assert list(tmp_path.iterdir()) == [data]


def test_missing_file(run, tmp_path):
    data = tmp_path / "none.csv"
    assert_fails(run("filter", data, *COLUMNS), "none.csv: cannot be read: No such file")


def test_not_text(run, tmp_path):
    data = tmp_path / "data.csv"
    data.write_bytes(b"t,z\n0,\x81\n")
    assert_fails(run("filter", data, *COLUMNS), "data.csv: is text neither in UTF-8 nor in cp1252")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--backend", "fortran"), "must be a registered backend .*'fortran'"),
        (("--device", "cuda:7"), "backend 'numpy' has no device 'cuda:7'; it has cpu"),
        (("--plot", "a.xyz"), r"a.xyz: a picture must end in one of .*, got \"\.xyz\""),
        (("--output", "s.png", "--plot", "s.png"), "s.png: is the output of both the table and"),
        (("--output", "a.zip"), "a.zip: cannot be written in this format"),
    ],
)
def test_refused_before_any_work(run, write, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    data = write(*GOOD)
    assert_fails(run("filter", data, *COLUMNS, *options), message)
    assert list(tmp_path.iterdir()) == [data]


def test_existing_outputs_need_force(run, write, tmp_path):
    data, output = write(*GOOD), tmp_path / "out.csv"
    output.write_text("precious")
    arguments = ("filter", data, *COLUMNS, "--decay", 0, "--output", output)
    assert_fails(run(*arguments), "out.csv: exists already; .*--force")
    assert output.read_text() == "precious"
    assert run(*arguments, "--force")[0] == 0
    assert output.read_text().startswith("t,z,z_mean")


def test_the_input_is_never_an_output(run, write):
    data = write(*GOOD)
    assert_fails(run("filter", data, *COLUMNS, "--output", data, "--force"), "is the input")
    assert data.read_text().startswith("t,z\n0,1")


def test_no_partial_output(run, write, tmp_path):
    data = write(*GOOD)
    missing = tmp_path / "nowhere" / "out.csv"
    assert_fails(run("filter", data, *COLUMNS, "--output", missing), "out.csv: cannot be written")
    assert list(tmp_path.iterdir()) == [data]
