"""Columns of numbers: missing cells, decimal signs, and a message for every other cell."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from afa_core.command.errors import CommandError

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "."})

Place: TypeAlias = Callable[[int], str]
"""Where a cell of a column is, in words for a message."""

_COMMA = re.compile(r"[+-]?(\d+,\d*|,\d+)([eE][+-]?\d+)?")
_POINT = re.compile(r"[+-]?(\d+\.\d*|\.\d+)([eE][+-]?\d+)?")
_GROUPED = re.compile(r"[+-]?\d{1,3}((,\d{3})+\.|(\.\d{3})+,)\d*")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")


def is_missing(cell: str) -> bool:
    """Whether a cell stands for a missing value."""
    return cell.strip().lower() in MISSING


def parse_number(cell: str, decimal: str) -> float:
    """Return the number in a cell.

    Raises
    ------
    ValueError
        If it is not one finite number with that decimal sign.
    """
    text = cell.strip()
    if decimal == ",":
        text = text.replace(",", ".") if "." not in text else ""
    number = float(text if "_" not in text else "")  # Python reads 1_000
    if not math.isfinite(number):
        raise ValueError
    return number


def parse_values(cells: Sequence[str], decimal: str, place: Place) -> list[float]:
    """Return the numbers of a column, NaN where a cell is missing.

    Raises
    ------
    CommandError
        If a cell is neither a finite number nor missing.
    """
    values = []
    for index, cell in enumerate(cells):
        try:
            values.append(math.nan if is_missing(cell) else parse_number(cell, decimal))
        except ValueError as error:
            msg = f"{place(index)}: {expected('a number or an empty cell', cell, decimal)}"
            raise CommandError(msg) from error
    return values


def expected(what: str, cell: str, decimal: str) -> str:
    """Return the message of a cell that is not what was expected."""
    text = cell.strip()
    shown = text if len(text) <= 60 else f"{text[:60]}…"
    message = f'expected {what}, got "{shown}".'
    if _GROUPED.fullmatch(text):
        return f"{message} Remove the separators of its thousands."
    if decimal == "," and "." in text:
        return f"{message} Decimal signs are commas here; pass --decimal . if they are points."
    if "," in text:
        return f"{message} Pass --decimal , if its comma is a decimal sign."
    return message


def decimal_sign(
    columns: Mapping[str, Sequence[str]], place: Callable[[str, int], str], separator: str
) -> str:
    """Return the decimal sign of columns: a comma if their numbers show it, otherwise a point.

    Raises
    ------
    CommandError
        If the numbers that have commas may as well be thousands.
    """
    if separator == ",":
        return "."
    commas = _cells_like(_COMMA, columns)
    first = next(iter(commas), None)
    if first is None or next(iter(_cells_like(_POINT, columns)), None) is not None:
        return "."
    if all(_THOUSANDS.fullmatch(cell) for _, _, cell in _cells_like(_COMMA, columns)):
        name, index, cell = first
        msg = (
            f'{place(name, index)}: "{cell}" may have a decimal comma or be thousands. Pass '
            "--decimal , or remove the commas."
        )
        raise CommandError(msg)
    return ","


def _cells_like(
    pattern: re.Pattern[str], columns: Mapping[str, Sequence[str]]
) -> Iterable[tuple[str, int, str]]:
    """Yield the column, the index and the text of cells that match a pattern."""
    for name, cells in columns.items():
        for index, cell in enumerate(cells):
            if pattern.fullmatch(text := cell.strip()):
                yield name, index, text
