"""CSV files of measurements: read with a message for every error, written completely or not."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from afa_core.command.errors import CommandError
from afa_core.layer.atomic import write_whole

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "."})


class Table(NamedTuple):
    """The columns of a file in the order of its rows; a missing value is NaN."""

    source: str
    cells: dict[str, list[str]]  # the text of every column
    times: list[float]
    values: dict[str, list[float]]  # by column


def read_table(path: Path, time: str, columns: Sequence[str], delimiter: str = ",") -> Table:
    """Read a time column and value columns from a CSV file with a header.

    Raises
    ------
    CommandError
        If the file or a column is missing, a cell is not a number, or a column has no number.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return _parse(csv.DictReader(file, delimiter=delimiter), str(path), time, columns)
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror}."
        raise CommandError(msg) from error
    except (UnicodeDecodeError, csv.Error) as error:
        msg = f"{path}: is not a CSV file in UTF-8: {error}."
        raise CommandError(msg) from error


def _parse(rows: csv.DictReader[str], source: str, time: str, columns: Sequence[str]) -> Table:
    header = rows.fieldnames or []
    for column in (time, *columns):
        if header.count(column) != 1:
            found = "stands twice in" if column in header else "is not in"
            listed = ", ".join(f'"{name}"' for name in header) or "nothing"
            msg = f'{source}: column "{column}" {found} the header, which holds {listed}.'
            raise CommandError(msg)
    times: list[float] = []
    values: dict[str, list[float]] = {column: [] for column in columns}
    cells: dict[str, list[str]] = {column: [] for column in (time, *columns)}
    for row in rows:
        place = f"{source}: row {rows.line_num}"
        moment = _number(row[time], f'{place}, column "{time}"')
        if math.isnan(moment):
            msg = f'{place}, column "{time}": expected a time, got nothing. Remove the row.'
            raise CommandError(msg)
        times.append(moment)
        for column, texts in cells.items():
            texts.append(row[column] or "")
        for column in columns:
            values[column].append(_number(row[column], f'{place}, column "{column}"'))
    for column in columns:
        if all(math.isnan(value) for value in values[column]):
            msg = f'{source}: column "{column}" holds no number in {len(times)} rows.'
            raise CommandError(msg)
    return Table(source, cells, times, values)


def _number(cell: str | None, place: str) -> float:
    text = (cell or "").strip()
    if text.lower() in MISSING:
        return math.nan
    try:
        number = float(text)
    except ValueError:
        number = math.inf
    if not math.isfinite(number):
        msg = f'{place}: expected a number or an empty cell, got "{text}".'
        raise CommandError(msg)
    return number


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file completely, or raise CommandError and write nothing."""

    def write(target: Path) -> None:
        with target.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(header)
            writer.writerows(rows)

    write_file(path, write)


def write_file(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file with `write`, completely or not at all.

    Raises
    ------
    CommandError
        If the file cannot be written.
    """
    try:
        write_whole(path, write)
    except OSError as error:
        msg = f"{path}: cannot be written: {error.strerror}."
        raise CommandError(msg) from error


def refuse_existing(paths: Iterable[Path], source: Path, *, force: bool) -> None:
    """Raise CommandError if an output exists (unless forced), or is the input itself."""
    for path in paths:
        if path.exists() and path.samefile(source):
            msg = f"{path}: is the input; choose another output."
            raise CommandError(msg)
        if path.exists() and not force:
            msg = f"{path}: exists already; choose another output or pass --force."
            raise CommandError(msg)
