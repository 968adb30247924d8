"""Columns of dates: one order of day, month and year for a column, and instants in UTC.

Every cell is rearranged to ISO 8601, which pandas reads.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from afa_core.command.errors import CommandError
from afa_core.command.numeric import Place, expected

FORMATS = (
    "YYYY-MM-DD, YYYY-MM, YYYY/MM/DD, DD.MM.YYYY, DD/MM/YYYY, MM/DD/YYYY, 31 Jan 2024 or "
    "Jan 31, 2024, with or without hh:mm:ss and a zone such as Z or +01:00"
)

_TIME = (
    r"(?:(?:T|\s+)(?P<hour>\d{1,2})(?::?(?P<minute>\d{2})(?::?(?P<second>\d{2})"
    r"(?:[.,](?P<fraction>\d{1,9}))?)?)?\s*(?P<half>[AP]M)?"
    r"\s*(?P<zone>Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?)?"
)
_WEEKDAY = r"(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,?\s+)?"
_MONTH = r"(?P<name>Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*\.?"
_MONTHS = "janfebmaraprmayjunjulaugsepoctnovdec"
_PATTERNS = {
    name: re.compile(pattern + _TIME, re.IGNORECASE | re.ASCII)
    for name, pattern in {
        "year first": r"(?P<year>\d{4})([-/])(?P<month>\d{1,2})(?:\2(?P<day>\d{1,2}))?",
        "compact": r"(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})",
        "points": r"(?P<day>\d{1,2})\.(?P<month>\d{1,2})\.(?P<year>\d{4})",
        "year last": r"(?P<left>\d{1,2})([-/])(?P<right>\d{1,2})\2(?P<year>\d{4})",
        "day and name": rf"{_WEEKDAY}(?P<day>\d{{1,2}})[\s-]+{_MONTH}[\s-]+(?P<year>\d{{4}})",
        "name and day": rf"{_WEEKDAY}{_MONTH}\s+(?P<day>\d{{1,2}}),?\s+(?P<year>\d{{4}})",
        "name and year": rf"{_MONTH}[\s-]+(?P<year>\d{{4}})",
    }.items()
}


class DateStyle(NamedTuple):
    """How the dates of a column are written."""

    pattern: str = ""  # a key of the patterns
    day_first: bool = False  # of those with the year last
    zoned: bool = False
    date_format: str | None = None  # of `strptime`, instead of a pattern


def find_style(
    cells: Sequence[str], place: Place, date_format: str | None
) -> tuple[DateStyle, list[str]]:
    """Return how the dates of a column are written, and what is worth saying about it.

    Raises
    ------
    CommandError
        If the first cell is no date, or the order of day and month is not clear from the column.
    """
    if date_format is not None:
        zoned = "%z" in date_format or "%Z" in date_format
        return DateStyle(date_format=date_format, zoned=zoned), []
    text = cells[0].strip()
    for name, pattern in _PATTERNS.items():
        if match := pattern.fullmatch(text):
            style = DateStyle(name, zoned=match["zone"] is not None)
            return _find_order(cells, place, style) if name == "year last" else (style, [])
    raise CommandError(f"{place(0)}: {_not_a_date('a number or a date', text)}")


def _find_order(
    cells: Sequence[str], place: Place, style: DateStyle
) -> tuple[DateStyle, list[str]]:
    """Find out whether the day or the month stands first, from the numbers above 12."""
    matches = [_PATTERNS[style.pattern].fullmatch(cell.strip()) for cell in cells]
    pairs = [(int(m["left"]), int(m["right"])) if m else (1, 1) for m in matches]
    day_first = next((i for i, (first, _) in enumerate(pairs) if first > 12), None)
    month_first = next((i for i, (_, second) in enumerate(pairs) if second > 12), None)
    if day_first is not None and month_first is not None:
        later, earlier = max(day_first, month_first), min(day_first, month_first)
        msg = (
            f'{place(later)}: "{cells[later].strip()}" has day and month in another order than '
            f'"{cells[earlier].strip()}". Write all dates alike.'
        )
        raise CommandError(msg)
    if day_first is None and month_first is None:
        for index, (first, second) in enumerate(pairs):
            if first != second:
                msg = (
                    f'{place(index)}: "{cells[index].strip()}" may be DD/MM/YYYY or MM/DD/YYYY, '
                    f"as all of its column. Pass --date-format {_formats(matches[index])}."
                )
                raise CommandError(msg)
    order = "MM/DD/YYYY" if day_first is None else "DD/MM/YYYY"
    note = f"dates are read as {order}; --date-format selects another order"
    return style._replace(day_first=day_first is not None), [note]


def _formats(match: re.Match[str] | None) -> str:
    """Return both formats of `strptime` that a date with the year last may have."""
    assert match is not None
    separator = match[2]
    time = "".join(
        sign
        for part, sign in {
            "hour": " %I" if match["half"] else " %H",
            "minute": ":%M",
            "second": ":%S",
            "fraction": ".%f",
            "half": " %p",
            "zone": " %z",
        }.items()
        if match[part] is not None
    )
    orders = ("%d", "%m"), ("%m", "%d")
    return " or ".join(f'"{separator.join([*order, "%Y"])}{time}"' for order in orders)


def parse_dates(cells: Sequence[str], style: DateStyle, place: Place) -> tuple[Any, list[str]]:
    """Return instants in UTC as datetime64, and what is worth saying about their zone.

    Parameters
    ----------
    cells : sequence of str
    style : DateStyle
        Of the whole column.
    place : callable
        Where a cell is, for messages.

    Returns
    -------
    times : array, shape (n,)
        datetime64[ns], or datetime64[us] where a year is out of the range of nanoseconds; those of
        dates without a zone are as they are written.
    notes : list of str

    Raises
    ------
    CommandError
        If a cell is no date, or some dates have a zone and others none.
    """
    import pandas as pd

    if style.date_format is None:
        texts, offsets = _rearrange(cells, style, place)
        found = pd.to_datetime(texts, format="ISO8601", utc=True, errors="coerce")
    else:
        offsets = {"%z"} if style.zoned else set()
        found = _by_format(cells, style.date_format)
    if found.hasnans:
        index = int(found.isna().argmax())
        raise CommandError(f"{place(index)}: {_not_a_date('a date', cells[index], style)}")
    found = found.tz_convert(None)
    try:
        times = found.as_unit("ns").to_numpy()
    except pd.errors.OutOfBoundsDatetime:
        times = found.as_unit("us").to_numpy()
    named = f" (from {', '.join(sorted(offsets))})" if offsets - {"Z", "%z"} else ""
    return times, [f"times are in UTC{named}"] if style.zoned else []


def _by_format(cells: Sequence[str], date_format: str) -> Any:
    """Read dates by a format of `strptime`."""
    import pandas as pd

    texts = [cell.strip() for cell in cells]
    try:
        return pd.to_datetime(texts, format=date_format, utc=True, errors="coerce")
    except ValueError as error:
        msg = f"argument --date-format: {date_format!r} is no format of dates: {error}."
        raise CommandError(msg) from error


def _rearrange(cells: Sequence[str], style: DateStyle, place: Place) -> tuple[list[str], set[str]]:
    """Return the dates of a column as ISO 8601, and the offsets of their zones."""
    pattern = _PATTERNS[style.pattern]
    texts, offsets = [], set()
    for index, cell in enumerate(cells):
        match = pattern.fullmatch(cell.strip())
        if match is None:
            raise CommandError(f"{place(index)}: {_not_a_date('a date', cell, style)}")
        zone = match["zone"]
        if (zone is not None) != style.zoned:
            presence = "with a zone" if style.zoned else "without a zone"
            msg = (
                f"{place(index)}: expected a date {presence}, as the rows before have, got "
                f'"{cell.strip()}". Give all dates a zone, or none.'
            )
            raise CommandError(msg)
        if zone is not None:
            zone = "Z" if zone[0] not in "+-" else f"{zone[:3]}:{zone[3:].lstrip(':') or '00'}"
            offsets.add(zone)
        texts.append(_iso(match.groupdict(), style, zone or "Z"))
    return texts, offsets


def _iso(parts: dict[str, str | None], style: DateStyle, zone: str) -> str:
    """Return a date in ISO 8601; what is out of range stays so."""
    day = parts.get("day") or "1"
    month = parts.get("month") or "1"
    if style.pattern == "year last":
        day, month = str(parts["left"]), str(parts["right"])
        if not style.day_first:
            day, month = month, day
    elif name := parts.get("name"):
        month = str(_MONTHS.index(name.lower()) // 3 + 1)
    hour = parts["hour"] or "0"
    if half := parts["half"]:
        afternoon = half.upper() == "PM"
        hour = str(int(hour) % 12 + 12 * afternoon) if 1 <= int(hour) <= 12 else "99"
    time = (
        f"{hour:>02}:{parts['minute'] or '00'}:{parts['second'] or '00'}.{parts['fraction'] or '0'}"
    )
    return f"{parts['year']}-{month:>02}-{day:>02}T{time}{zone}"


def _not_a_date(what: str, cell: str, style: DateStyle | None = None) -> str:
    """Return the message of a cell that is no date, with the formats that were tried."""
    if style is not None and style.date_format is not None:
        return f"{expected(what, cell, '.')} Tried {style.date_format!r}."
    return f"{expected(what, cell, '.')} Tried {FORMATS}. Pass --date-format for another."
