"""Options: every one refuses what it cannot use, in one line that names it, with exit code 2."""

import pytest

from afa_core.command.parser import UNITS, build_parser
from afa_core.timeseries.times import UNITS as units_of_the_filter

COLUMNS = ("--time", "t", "--value", "z")

NOT_FINITE = ["nan", "inf", "-inf", "1e999", "high", ""]
FINITE = "a finite number"
NON_NEGATIVE, POSITIVE = "a finite number ≥ 0", "a finite number > 0"
PROBABILITY = "a number between 0 and 1, such as 0.95"
NONZERO = "a finite number other than 0"
COUNT = "a whole number ≥ 1"
SEPARATOR = r"one character, such as ';' or '\t', and no quotation mark"
ENCODING = "an encoding such as utf-8, utf-16 or cp1252"
DIRECTIVES = "directives, as '%Y-%m-%d %H:%M' does"

FILTER = ("filter", "data.csv", *COLUMNS)
REFUSED = [
    *((FILTER, "level", FINITE, text) for text in NOT_FINITE),
    *((FILTER, "decay", NON_NEGATIVE, text) for text in [*NOT_FINITE, "-1"]),
    *((FILTER, "process-noise", NON_NEGATIVE, text) for text in [*NOT_FINITE, "-0.5"]),
    *((FILTER, "measurement-noise", POSITIVE, text) for text in [*NOT_FINITE, "-2", "0"]),
    *((FILTER, "dof", POSITIVE, text) for text in [*NOT_FINITE, "-4", "0"]),
    *((FILTER, "threshold", POSITIVE, text) for text in [*NOT_FINITE, "-3", "0"]),
    *((FILTER, "frequency", NONZERO, text) for text in [*NOT_FINITE, "0", "-0.0"]),
    *((FILTER, "interval", PROBABILITY, text) for text in [*NOT_FINITE, "0", "1", "2", "-0.5"]),
    *((FILTER, "window", COUNT, text) for text in ["0", "-1", "1.5", "inf"]),
    *((("forecast",), "steps", COUNT, text) for text in ["0", "-3", "2.5", "nan"]),
    *((FILTER, "sep", SEPARATOR, text) for text in ["", ",,", r"\n", r"\s", '"', "\n", "\r", "\0"]),
    *((FILTER, "encoding", ENCODING, text) for text in ["", "foo", "base64", "utf-99", "\0"]),
    *((FILTER, "date-format", DIRECTIVES, text) for text in ["", "YYYY-MM-DD", "mixed"]),
    *((("explain",), "queries", COUNT, text) for text in ["-5", "0", "1.5", "many", "", "nan"]),
    *((("explain",), "keys", COUNT, text) for text in ["-5", "0", "1e3"]),
    *((("explain",), "modes", COUNT, text) for text in ["-5", "0", "inf"]),
]


@pytest.mark.parametrize(("command", "option", "expected", "text"), REFUSED)
def test_refused(run, command, option, expected, text):
    verb = "hold" if option == "date-format" else "be"
    assert run(*command, f"--{option}={text}") == (
        2,
        "",
        f"afa_core: argument --{option}: must {verb} {expected}, got {text!r}. "
        f"See `python -m afa_core {command[0]} --help`.\n",
    )


ACCEPTED = [
    ("level", "-1e3", -1000.0),
    ("decay", "0", 0.0),
    ("process-noise", "1E-3", 0.001),
    ("measurement-noise", ".5", 0.5),
    ("frequency", "-0.5", -0.5),
    ("interval", "0.5", 0.5),
    ("window", "1", 1),
    ("sep", r"\t", "\t"),
    ("sep", "\t", "\t"),
    ("sep", " ", " "),
    ("encoding", "UTF-16", "UTF-16"),
    ("date-format", "%d.%m.%y", "%d.%m.%y"),
]


@pytest.mark.parametrize(("option", "text", "value"), ACCEPTED)
def test_accepted(option, text, value):
    options = build_parser().parse_args([*FILTER, f"--{option}={text}"])
    assert getattr(options, option.replace("-", "_")) == value


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "the following arguments are required: COMMAND. See `python -m afa_core --help`."),
        (("filter",), "the following arguments are required: DATA, --time"),
        (("fliter",), "argument COMMAND: invalid choice: 'fliter' "),
        ((*FILTER, "--levle", "3"), "unrecognized arguments: --levle 3. See "),
        ((*FILTER, "--lev", "3"), "unrecognized arguments: --lev 3. See "),
        ((*FILTER, "--level"), "argument --level: expected one argument. See "),
        ((*FILTER, "--decimal", ";"), "argument --decimal: invalid choice: ';' "),
        ((*FILTER, "--unit", "Y"), "argument --unit: invalid choice: 'Y' "),
        ((*FILTER, "--pair", "x"), "argument --pair: expected 2 arguments. See "),
        (("explain", "--form", "round"), "argument --form: invalid choice: 'round' "),
    ],
)
def test_errors_of_the_parser_are_of_the_same_kind(run, arguments, message):
    code, out, err = run(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"afa_core: {message}")
    assert err.endswith("--help`.\n")


def test_options_are_refused_before_the_file_is_read(run, tmp_path):
    assert "argument --level" in run("filter", tmp_path, *COLUMNS, "--level", "inf")[2]
    assert "argument --level" in run("filter", "none.csv", *COLUMNS, "--level", "nan")[2]


@pytest.mark.parametrize(
    ("columns", "twice"),
    [
        (("--value", "z", "--value", "z"), "z"),
        (("--value", "z", "--value", "y", "--value", "z"), "z"),
        (("--value", "t"), "t"),
        (("--value", "z", "--value", "t"), "t"),
        (("--pair", "z", "z"), "z"),
        (("--pair", "y", "z", "--value", "z"), "z"),
        (("--pair", "z", "y", "--pair", "x", "y"), "y"),
        (("--pair", "z", "t"), "t"),
    ],
)
def test_columns_that_are_named_twice(run, write, tmp_path, columns, twice):
    data = write("t,z,y", "0,1,2", "1,2,3")
    code, out, err = run("filter", data, "--time", "t", *columns)
    message = f'column "{twice}" is named twice by the options; name each column once.'
    assert (code, out, err) == (2, "", f"afa_core: {message}\n")
    assert list(tmp_path.iterdir()) == [data]


@pytest.mark.parametrize("command", [("filter",), ("smooth",), ("forecast", "--steps", 3)])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "the following arguments are required: --value or --pair."),
        (
            ("--value", "z", "--frequency", 1),
            "argument --frequency: is of two columns that rotate; name them by --pair X Y.",
        ),
        (
            ("--pair", "y", "z", "--level", 1),
            "argument --level: is of single columns; leave it out, and a --pair has its own.",
        ),
    ],
)
def test_options_that_do_not_go_together(run, write, command, options, message):
    data = write("t,z,y", "0,1,2", "1,2,3")
    name, *more = command
    found = run(name, data, "--time", "t", *more, *options)
    assert found == (2, "", f"afa_core: {message}\n")
    assert list(data.parent.iterdir()) == [data]


def test_units_are_those_of_the_filter():
    assert units_of_the_filter == UNITS
