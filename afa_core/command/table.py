"""Tables of measurements: read from text or Parquet, with a message for every error."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from afa_core.command.dates import DateStyle, find_style, parse_dates
from afa_core.command.errors import CommandError
from afa_core.command.numeric import (
    Place,
    decimal_sign,
    expected,
    is_missing,
    parse_number,
    parse_values,
)
from afa_core.command.parquet import (
    NOTHING,
    is_parquet,
    read_columns,
    typed_times,
    typed_values,
)
from afa_core.command.rows import Rows, split
from afa_core.command.source import decode, name_of, read_bytes

_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_COMPACT_DATE = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")


class Layout(NamedTuple):
    """How the text of a table is written; what is None is found out."""

    separator: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    date_format: str | None = None


class Table(NamedTuple):
    """A time column and value columns in the order of their rows; a missing value is NaN."""

    source: str
    time: str
    header: tuple[str, ...]
    times: Any  # (n,), int64, float64, or datetime64 in UTC
    values: dict[str, Any]  # (n,) each, float64
    cells: dict[str, Any]  # what the time and value columns hold, as it came
    separator: str  # of the text
    decimal: str
    dates: DateStyle | None  # None where times are numbers
    notes: tuple[str, ...]  # what was assumed or converted


def read_table(path: str, time: str, columns: Sequence[str], layout: Layout) -> Table:
    """Read a time column and value columns from a file with a header, or from standard input.

    Raises
    ------
    CommandError
        If the file or a column is missing, a cell is not what its column holds, or a column has no
        number.
    """
    import numpy as np

    content, source = read_bytes(path), name_of(path)
    notes: list[str] = []
    if is_parquet(content):
        rows = read_columns(content, source, (time, *columns))
    else:
        text, notes = decode(content, layout.encoding, source)
        rows = split(text, source, (time, *columns), layout.separator)
        notes += _said_of(rows, layout)

    def place(name: str, index: int) -> str:
        return f'{source}: row {rows.lines[index]}, column "{name}"'

    texts = {name: cells for name, cells in rows.cells.items() if isinstance(cells, list)}
    decimal = layout.decimal or decimal_sign(texts, place, rows.separator)
    if decimal == "," and layout.decimal is None:
        notes.append("decimal signs are commas")
    values = {}
    for name in columns:
        if rows.lines:
            values[name] = _values(rows.cells[name], decimal, partial(place, name))
        if not rows.lines or np.isnan(values[name]).all():
            msg = f'{source}: column "{name}" holds no number in {len(rows.lines)} rows.'
            raise CommandError(msg)
    times, dates, said = _times(rows.cells[time], decimal, layout, partial(place, time))
    return Table(
        source=source,
        time=time,
        header=rows.header,
        times=times,
        values=values,
        cells=rows.cells,
        separator=rows.separator,
        decimal=decimal,
        dates=dates,
        notes=(*notes, *said),
    )


def read_moments(texts: Sequence[str], table: Table, option: str) -> Any:
    """Return times that an option gives, as those of a table.

    Raises
    ------
    CommandError
        If one is not what the times of the table are: a number, or a date with or without a zone.
    """

    def place(index: int) -> str:
        return f'argument {option}: "{texts[index]}"'

    style = table.dates
    if style is None:
        return _numbers(texts, table.decimal, place)
    if style.date_format is None and style.pattern != "year last":
        style = find_style(texts, place, None)[0]._replace(zoned=style.zoned)
    return parse_dates(texts, style, place)[0]


def _said_of(rows: Rows, layout: Layout) -> list[str]:
    """Return what was found out about the separator."""
    if layout.separator is not None or rows.separator == ",":
        return []
    name = {"\t": "tabs", ";": "semicolons", "|": "bars"}[rows.separator]
    return [f"cells are separated by {name}"]


def _values(cells: Any, decimal: str, place: Place) -> Any:
    import numpy as np

    if isinstance(cells, list):
        return np.asarray(parse_values(cells, decimal, place), dtype=np.float64)
    return typed_values(cells, place)


def _times(
    cells: Any, decimal: str, layout: Layout, place: Place
) -> tuple[Any, DateStyle | None, list[str]]:
    """Return times, how dates are written, and what is worth saying about them."""
    if not isinstance(cells, list):
        times, zoned = typed_times(cells, place)
        dates = None if zoned is None else DateStyle("year first", zoned=zoned)
        return times, dates, ["times are in UTC"] if zoned else []
    for index, cell in enumerate(cells):
        if is_missing(cell):
            raise CommandError(f"{place(index)}: {NOTHING}")
    if layout.date_format is None and _is_number(cells[0], decimal):
        compact = all(_COMPACT_DATE.fullmatch(cell.strip()) for cell in cells)
        hint = "times are read as numbers; if they are dates, pass --date-format %Y%m%d"
        return _numbers(cells, decimal, place), None, [hint] if compact else []
    dates, notes = find_style(cells, place, layout.date_format)
    times, said = parse_dates(cells, dates, place)
    return times, dates, notes + said


def _is_number(cell: str, decimal: str) -> bool:
    try:
        parse_number(cell, decimal)
    except ValueError:
        return False
    return True


def _numbers(cells: Sequence[str], decimal: str, place: Place) -> Any:
    """Return times that are numbers: int64 if all are integers, which are never rounded."""
    import numpy as np

    texts = [cell.strip() for cell in cells]
    if all(map(_INTEGER.fullmatch, texts)):
        try:
            return np.asarray([int(text) for text in texts], dtype=np.int64)
        except OverflowError as error:
            index = next(i for i, text in enumerate(texts) if abs(int(text)) >= 2**63)
            msg = f"{place(index)}: expected an integer of at most 64 bits, got {texts[index]}."
            raise CommandError(msg) from error
    times = []
    for index, text in enumerate(texts):
        try:
            times.append(parse_number(text, decimal))
        except ValueError as error:
            msg = f"{place(index)}: {expected('a number, as in the first row', text, decimal)}"
            raise CommandError(msg) from error
    return np.asarray(times, dtype=np.float64)
