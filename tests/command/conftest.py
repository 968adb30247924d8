"""Series to filter, and a way to run commands as a user does."""

import csv

import numpy as np
import pytest

from afa_core.__main__ import main
from afa_core.command.errors import CommandError
from afa_core.command.table import Layout, read_table


@pytest.fixture
def run(capsys, monkeypatch):
    """Run a command in this process; return its exit code, output and error text."""
    monkeypatch.setenv("JAX_ENABLE_X64", "1")

    def call(*arguments):
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def write(tmp_path):
    """Write a CSV file of the given lines."""

    def make(*lines, name="data.csv"):
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return make


@pytest.fixture
def table(tmp_path):
    """Read the columns t and z of a file with some content: bytes, text or lines."""

    def parse(content, *columns, name="data.csv", **layout):
        if not isinstance(content, bytes):
            lines = [content] if isinstance(content, str) else content
            content = "\n".join(lines).encode()
        path = tmp_path / name
        path.write_bytes(content)
        return read_table(str(path), "t", columns or ("z",), Layout(**layout))

    return parse


@pytest.fixture
def refusal(table):
    """Return the message with which a file is refused, without the name of the file."""

    def message(content, *columns, **options):
        with pytest.raises(CommandError) as caught:
            table(content, *columns, **options)
        return str(caught.value).rpartition("data.csv: ")[2]

    return message


@pytest.fixture
def series():
    """A random walk measured with noise at irregular times: times, values, places of outliers."""
    rng = np.random.default_rng(7)
    times = np.cumsum(rng.exponential(size=120))
    state = np.cumsum(rng.normal(size=120) * np.sqrt(0.05 * np.diff(times, prepend=times[0])))
    values = state + rng.normal(size=120)
    outliers = np.asarray([30, 55, 80, 100])
    values[outliers] += [25.0, -25.0, 25.0, -25.0]
    return times, values, outliers


@pytest.fixture
def read():
    """Read a CSV file as columns of numbers, NaN where a cell is empty."""

    def columns(path):
        with path.open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return {
            name: np.asarray([float(row[name]) if row[name] else np.nan for row in rows])
            for name in rows[0]
        }

    return columns
