"""Rows of results, a line of JSON each, and what a table says of several values."""

import json
import statistics


def rows_of(path):
    """Return all rows of a file, none if there is no file."""
    return [json.loads(x) for x in path.read_text("utf-8").splitlines()] if path.exists() else []


def found(rows, **given):
    """Return the rows that have the given entries."""
    return [row for row in rows if all(row[name] == x for name, x in given.items())]


def append(path, row):
    """Append a row to a file."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def spread(values):
    """Return the mean and the standard deviation of several values, or the one that there is."""
    mean = f"{statistics.mean(values):.3f}"
    return f"{mean} ± {statistics.stdev(values):.3f}" if len(values) > 1 else mean
