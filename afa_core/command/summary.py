"""What the commands print: a filtered column in a few lines, and plain tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from afa_core._array.arrays import namespace
from afa_core.command.column import Column
from afa_core.command.series import Series

LISTED = 8  # outliers named in a summary


def summarise(column: Column, series: Series, time: str) -> str:
    """Return the parameters, the likelihood, both prediction errors and the outliers."""
    xp: Any = namespace(values=column.values)
    observed = xp.isfinite(column.values)
    model, outlier = column.model, column.outlier
    when = [series.cells[time][row] for row in column.rows]
    flagged = [label for label, out in zip(when, outlier.tolist(), strict=True) if out]
    named = ", ".join(flagged[:LISTED]) + (", …" if len(flagged) > LISTED else "")

    def number(field: str) -> str:
        origin = "fitted" if field in column.fitted else "given"
        return f"{getattr(model, field):.6g} ({origin})"

    def errors(chosen: Any) -> str:
        pairs = [
            ("attention", column.prediction),
            ("Kalman", column.kalman_prediction),
        ]
        return ", ".join(f"{name} {_rms(column.values - x, chosen):.5g}" for name, x in pairs)

    lines = [
        f'{series.source}: "{column.name}", {int(xp.sum(xp.astype(observed, xp.int64)))} '
        f"measurements in {len(when)} rows, {time} {when[0]} to {when[-1]}",
        f"  decay           {number('decay')}",
        f"  process noise   {number('process')}",
        f"  measurement     {number('measurement')}, query {model.query:.6g}, dof {model.dof:g}",
        *([f"  level           {number('level')}"] if model.decay > 0 else []),
        f"  log-likelihood  {column.log_likelihood:.4f} (exact Kalman filter, diffuse start)",
        f"  prediction rms  {errors(observed)}",
    ]
    if flagged:
        lines.append(f"  – no outliers   {errors(observed & ~outlier)}")
    lines.append(f"  outliers        {len(flagged)}" + (f": {time} {named}" if flagged else ""))
    return "\n".join(lines)


def greatest_difference(column: Column, reference: Column) -> float:
    """Return the greatest difference between two results, relative to the reference's size."""
    xp: Any = namespace(values=reference.values)
    differences = [0.0]
    for found, expected in zip(
        column.outputs().values(), reference.outputs().values(), strict=True
    ):
        expected = xp.astype(expected, xp.float64)
        known = xp.isfinite(expected)
        gap = xp.where(known, xp.astype(found, xp.float64) - expected, 0.0)
        size = xp.max(xp.abs(xp.where(known, expected, 0.0)))
        differences.append(float(xp.max(xp.abs(gap))) / (float(size) or 1.0))
    return max(differences)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows of text under a header, in columns as wide as their widest cell."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _rms(error: Any, chosen: Any) -> float:
    """Return the root mean square of the chosen errors that are known."""
    xp: Any = namespace(error=error)
    chosen = chosen & xp.isfinite(error)
    count = float(xp.sum(xp.astype(chosen, error.dtype)))
    total = float(xp.sum(xp.where(chosen, error, 0.0) ** 2))
    return (total / count) ** 0.5 if count else float("nan")
