"""The picture of series: measurements, estimates and forecasts, residuals, attention weights."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from afa_core.command.output import write_picture
from afa_core.command.series import COMPUTED, Fitted

BEFORE_FORECAST = 10
"""Rows that are shown before a forecast, for each of its steps; 200 at least."""

MAX_SHOWN = 600
"""Measurements whose attention weights are shown."""

MAX_VECTORS = 5_000
"""Rows beyond which points are drawn as pixels in vector formats."""


def draw(
    path: Path, time: str, series: Sequence[Fitted], *, level: float, weights: bool = False
) -> None:
    """Draw all columns into a picture file, one below the other.

    Parameters
    ----------
    path : Path
    time : str
        Name of the time column.
    series : sequence of Fitted
        With estimates, and with forecasts or without.
    level : float
        Of the intervals.
    weights : bool
        Whether attention weights are shown beside each column.
    """
    from matplotlib.figure import Figure

    count = sum(len(each.names) for each in series)
    figure = Figure(figsize=(13.0 if weights else 9.5, 5.2 * count), layout="constrained")
    parts = iter(figure.subfigures(count, 1, squeeze=False)[:, 0])
    for each in map(_shown, series):
        panels = [_panels(next(parts), weights=weights) for _ in each.names]
        _draw_series([panel["series"] for panel in panels], each, level)
        for column, panel in enumerate(panels):
            _draw_residuals(panel["residual"], each, column)
            panel["residual"].set_xlabel(time, parse_math=False)
            if weights and each.found is not None:
                place = column // 2 if each.found.layout.paired else column
                _draw_weights(panel["weights"], time, each.model.weights(MAX_SHOWN, series=place))
    for axis in figure.axes:
        _shorten_dates(axis)
    with warnings.catch_warnings():  # a font need not have the characters of every name
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        write_picture(path, figure)


def _shown(fitted: Fitted) -> Fitted:
    """Return what is drawn: before a forecast, the last rows."""
    if fitted.ahead is None or fitted.found is None:
        return fitted
    rows = max(200, BEFORE_FORECAST * len(fitted.ahead.times))
    arrays = ("times", "values", *COMPUTED)
    last = {name: getattr(fitted.found, name)[-rows:] for name in arrays}
    return fitted._replace(found=fitted.found._replace(**last))


def _shorten_dates(axis: Any) -> None:
    """Leave out of the labels of dates what the labels beside them say."""
    dates: Any = import_module("matplotlib.dates")
    for each in (axis.xaxis, axis.yaxis):
        if isinstance(locator := each.get_major_locator(), dates.AutoDateLocator):
            each.set_major_formatter(dates.ConciseDateFormatter(locator))


def _panels(part: Any, *, weights: bool) -> dict[str, Any]:
    """Return the axes of a column: the series above its residuals, and beside them the weights."""
    rows = [["series"], ["residual"]]
    if weights:
        rows = [[*row, "weights"] for row in rows]
    panels: dict[str, Any] = part.subplot_mosaic(
        rows, height_ratios=[2.6, 1.0], width_ratios=[1.5, 1.0] if weights else [1.0]
    )
    panels["residual"].sharex(panels["series"])
    panels["series"].tick_params(labelbottom=False)
    return panels


def _draw_series(axes: list[Any], fitted: Fitted, level: float) -> None:
    """Draw measurements, estimates and forecasts of all columns."""
    assert fitted.found is not None
    fitted.found.plot(axes, level=level)
    if fitted.ahead is not None:
        fitted.ahead.plot(axes, level=level)
    for axis in axes:
        for line in axis.get_lines():
            line.set_rasterized(len(line.get_xdata()) > MAX_VECTORS)


def _draw_residuals(axis: Any, fitted: Fitted, column: int) -> None:
    """Draw standardised prediction residuals, with lines at ±2 and outliers marked."""
    found = fitted.found
    assert found is not None
    times, residual = found.times.to_numpy(), found.residual[:, column]
    flagged = found.outlier[:, column].astype(bool)
    for height in (-2.0, 0.0, 2.0):
        axis.axhline(height, color="0.6", lw=0.8, ls="-" if height == 0.0 else "--")
    axis.plot(times, residual, ".", color="0.45", ms=3, rasterized=len(times) > MAX_VECTORS)
    axis.plot(times[flagged], residual[flagged], "o", mfc="none", mec="C3", mew=1.3, ms=7)
    axis.set_ylabel("residual / sd")
    axis.margins(x=0.01)
    axis.grid(alpha=0.25)


def _draw_weights(axis: Any, time: str, weights: Any) -> None:
    """Draw a table of attention weights, whose colours are logarithmic."""
    from matplotlib.colors import LogNorm

    peak = float(weights.weights.max(initial=0.0)) or 1.0
    mesh = axis.pcolormesh(
        weights.times,
        weights.times,
        weights.weights.clip(min=1e-12),
        norm=LogNorm(vmin=1e-3 * peak, vmax=peak),
        cmap="magma",
        shading="nearest",
        rasterized=True,
    )
    axis.invert_yaxis()
    axis.set(facecolor="black", title="attention weights")
    axis.set_xlabel(f"{time} of the measurement", parse_math=False)
    axis.set_ylabel(f"{time} of the estimate", parse_math=False)
    axis.figure.colorbar(mesh, ax=axis, label="weight", extend="min")
