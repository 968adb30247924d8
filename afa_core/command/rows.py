"""The rows of delimited text: its separator, its header, and the cells of chosen columns.

They are split by the standard library, which counts the lines and the cells of every row.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from afa_core.command.columns import check_header
from afa_core.command.errors import CommandError
from afa_core.command.progress import progress_bar

if TYPE_CHECKING:
    from _csv import Reader

SEPARATORS = (",", ";", "\t", "|")


class Rows(NamedTuple):
    """The cells of chosen columns; blank rows are left out."""

    header: tuple[str, ...]
    separator: str
    cells: dict[str, Any]  # lists of text
    lines: Sequence[int]  # the line of the file in which each row ends


def split(text: str, source: str, columns: Sequence[str], separator: str | None) -> Rows:
    """Split text into rows, by the separator that finds the columns in the header if it is None.

    Raises
    ------
    CommandError
        If a column is not in the header or stands there twice, a row has more cells than the
        header, or a quotation mark is not closed.
    """
    separator = separator or _sniff(text, columns)
    reader = _reader(text, separator)
    try:
        header = tuple(cell.strip() for cell in next(_filled(reader), ()))
        check_header(header, source, columns)
        places = {column: header.index(column) for column in columns}
        cells: dict[str, list[str]] = {column: [] for column in columns}
        lines = []
        for row in progress_bar(_filled(reader), f"reading {source}"):
            if len(row) > len(header):
                raise CommandError(_too_long(source, reader.line_num, row, header, separator))
            lines.append(reader.line_num)
            for column, place in places.items():
                cells[column].append(row[place] if place < len(row) else "")
    except csv.Error as error:
        msg = f"{source}: row {reader.line_num}: is no CSV: {error}. Check its quotation marks."
        raise CommandError(msg) from error
    return Rows(header, separator, cells, lines)


def _reader(text: str, separator: str) -> Reader:
    # strict: a quotation mark that is not closed would swallow rows
    return csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)


def _sniff(text: str, columns: Sequence[str]) -> str:
    """Return the separator by which the header holds the columns, or the most cells."""
    headers: dict[str, list[str]] = {}
    for separator in SEPARATORS:
        try:
            header = next(_filled(_reader(text, separator)), [])
        except csv.Error:
            header = []
        headers[separator] = [cell.strip() for cell in header]
    for separator, header in headers.items():
        if set(columns) <= set(header):
            return separator
    return max(headers, key=lambda each: len(headers[each]))


def _filled(reader: Reader) -> Iterator[list[str]]:
    """Yield the rows that are not blank."""
    for row in reader:
        if any(map(str.strip, row)):
            yield row


def _too_long(
    source: str, line: int, row: Sequence[str], header: Sequence[str], separator: str
) -> str:
    what = f"{source}: row {line}: has {len(row)} cells, but the header has {len(header)}."
    if separator == ",":
        return f"{what} If its commas are decimal signs, quote such cells and pass --decimal ,"
    return f"{what} Quote cells that hold the separator, or pass another one by --sep."
