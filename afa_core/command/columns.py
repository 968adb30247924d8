"""The names of columns: of those that are read, and of those that a command adds."""

from __future__ import annotations

from collections.abc import Sequence

from afa_core.command.errors import CommandError

MAX_LISTED = 20
"""Columns of a header that a message lists."""


def check_distinct(time: str, columns: Sequence[str]) -> None:
    """Raise CommandError if the options name a column twice."""
    names = [time, *columns]
    for name in names:
        if names.count(name) > 1:
            msg = f'column "{name}" is named twice by the options; name each column once.'
            raise CommandError(msg)


def check_header(header: Sequence[str], source: str, columns: Sequence[str]) -> None:
    """Raise CommandError if a column is not in the header, or stands there twice."""
    for column in columns:
        if header.count(column) != 1:
            found = "stands twice in" if column in header else "is not in"
            listed = ", ".join(f'"{name}"' for name in header[:MAX_LISTED]) or "nothing"
            more = ", …" if len(header) > MAX_LISTED else ""
            msg = f'{source}: column "{column}" {found} the header, which holds {listed}{more}.'
            raise CommandError(msg)


def check_results(
    source: str, taken: Sequence[str], columns: Sequence[str], results: Sequence[str]
) -> None:
    """Raise CommandError if the column of a result has the name of another column.

    Parameters
    ----------
    source : str
    taken : sequence of str
        Names of the columns that are there.
    columns : sequence of str
        Names of the columns that have results.
    results : sequence of str
        Suffixes of their names.
    """
    owners: dict[str, str] = {}
    for column in columns:
        for result in results:
            name = f"{column}_{result}"
            msg = f'{source}: column "{name}" '
            if name in taken:
                msg += f'has the name of a result for "{column}". Rename it in the header.'
                raise CommandError(msg)
            if name in owners:
                msg += f'would be a result for "{owners[name]}" and for "{column}". Rename one of '
                raise CommandError(msg + "these in the header.")
            owners[name] = column
