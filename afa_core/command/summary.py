"""The text that the commands print: the summary of series, and tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from afa_core.command.series import Fitted, time_order
from afa_core.command.table import Table

MAX_LISTED = 8
"""Number of outliers whose times a summary lists."""


def summarise(table: Table, series: Sequence[Fitted]) -> str:
    """Return what is known of the table, then parameters, residuals and outliers of each series."""
    order = time_order(table)
    cells = [str(table.cells[table.time][place]) for place in order]
    notes = [f"{table.source}: {note}" for note in table.notes]
    if (order[1:] < order[:-1]).any():
        notes.append(f"{table.source}: rows are sorted by time, and written in their order")
    blocks = [f"{table.source}: {table.time} {cells[0]} to {cells[-1]}"]
    for each in series:
        texts = each.model.summary().split("\n\n")
        width = len(each.names) // len(texts)
        for place, text in enumerate(texts):
            columns = slice(width * place, width * (place + 1))
            blocks.append("\n".join([text, *_results(table.time, cells, each, columns)]))
    return "\n".join([*notes, *blocks])


def _results(time: str, cells: list[str], fitted: Fitted, columns: slice) -> Iterator[str]:
    """Yield the lines of what was estimated of a series."""
    import numpy as np

    if fitted.ahead is not None:
        yield f"  {'forecast':<15} {len(fitted.ahead.times)} times"
    if fitted.found is None:
        return
    error = (fitted.found.values - fitted.found.prediction)[:, columns]
    flagged = fitted.found.outlier[:, columns].astype(bool)
    good = _rms(error[~flagged])
    without = f", without outliers {good:.5g}" if flagged.any() else ""
    yield f"  {'prediction rms':<15} {_rms(error):.5g}{without}"
    rows = np.flatnonzero(flagged.any(axis=1))
    listed = ", ".join(cells[row] for row in rows[:MAX_LISTED])
    more = ", …" if len(rows) > MAX_LISTED else ""
    yield f"  {'outliers':<15} {len(rows)}" + (f": {time} {listed}{more}" if len(rows) else "")


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a header and rows of text, in columns as wide as their widest cell."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _rms(error: Any) -> float:
    """Return the root mean square of the errors that are finite, NaN if there are none."""
    import numpy as np

    finite = error[np.isfinite(error)]
    return float(np.sqrt(np.mean(finite**2))) if finite.size else float("nan")
