"""The text that the commands print: the summary of a filtered column, and tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from afa_core._array.arrays import namespace
from afa_core.command.column import FilteredColumn
from afa_core.command.table import Table

MAX_LISTED = 8
"""Number of outliers whose times a summary lists."""


def summarise(column: FilteredColumn, table: Table, time: str) -> str:
    """Return the parameters, the likelihood, both prediction errors and the outliers."""
    xp: Any = namespace(values=column.values)
    observed = xp.isfinite(column.values)
    model, outlier = column.model, column.outlier
    times = [str(table.cells[time][row]) for row in column.rows]
    flagged = [label for label, flag in zip(times, outlier.tolist(), strict=True) if flag]
    listed = ", ".join(flagged[:MAX_LISTED]) + (", …" if len(flagged) > MAX_LISTED else "")

    def number(field: str) -> str:
        origin = "fitted" if field in column.fitted else "given"
        return f"{getattr(model, field):.6g} ({origin})"

    def errors(included: Any) -> str:
        predictions = {"attention": column.prediction, "Kalman": column.kalman_prediction}
        return ", ".join(
            f"{name} {_rms(column.values - x, included):.5g}" for name, x in predictions.items()
        )

    lines = [
        f'{table.source}: "{column.name}", {int(xp.sum(xp.astype(observed, xp.int64)))} '
        f"measurements in {len(times)} rows, {time} {times[0]} to {times[-1]}",
        f"  decay           {number('decay')}",
        f"  process noise   {number('process')}",
        f"  measurement     {number('measurement')}, query {model.query:.6g}, dof {model.dof:g}",
        *([f"  level           {number('level')}"] if model.decay > 0 else []),
        f"  log-likelihood  {column.log_likelihood:.4f} (exact Kalman filter, diffuse start)",
        f"  prediction rms  {errors(observed)}",
    ]
    if flagged:
        lines.append(f"  – no outliers   {errors(observed & ~outlier)}")
    lines.append(f"  outliers        {len(flagged)}" + (f": {time} {listed}" if flagged else ""))
    return "\n".join(lines)


def largest_difference(column: FilteredColumn, reference: FilteredColumn) -> float:
    """Return the largest difference of two results, relative to the largest reference value."""
    xp: Any = namespace(values=reference.values)
    differences = [0.0]
    for found, expected in zip(
        column.outputs().values(), reference.outputs().values(), strict=True
    ):
        expected = xp.astype(expected, xp.float64)
        known = xp.isfinite(expected)
        difference = xp.where(known, xp.astype(found, xp.float64) - expected, 0.0)
        scale = xp.max(xp.abs(xp.where(known, expected, 0.0)))
        differences.append(float(xp.max(xp.abs(difference))) / (float(scale) or 1.0))
    return max(differences)


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a header and rows of text, in columns as wide as their widest cell."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _rms(error: Any, included: Any) -> float:
    """Return the root mean square of the included errors that are finite."""
    xp: Any = namespace(error=error)
    included = included & xp.isfinite(error)
    count = float(xp.sum(xp.astype(included, error.dtype)))
    total = float(xp.sum(xp.where(included, error, 0.0) ** 2))
    return (total / count) ** 0.5 if count else float("nan")
