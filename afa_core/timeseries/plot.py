"""Pictures of estimates and forecasts, by matplotlib."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np


def plot_estimates(found: Any, axes: Any = None, *, level: float = 0.95) -> list[Any]:
    """Draw measurements, estimates with their intervals, and outliers, a picture for each column.

    Parameters
    ----------
    found : Estimates
    axes : matplotlib axes, a sequence of them, or None
        One for each column of the values; by default those of a new figure.
    level : float
        Of the intervals.

    Returns
    -------
    list
        The axes.

    Raises
    ------
    ValueError
        If `level` is not between 0 and 1.
    """
    times, names = _times(found.times), found.layout.names
    lower, upper = (_columns(x) for x in found.interval(level))
    values, means, flags = (_columns(x) for x in (found.values, found.mean, found.outlier))
    drawn = _axes(axes, len(names))
    order = np.argsort(times, kind="stable")
    for place, (name, axis) in enumerate(zip(names, drawn, strict=True)):
        low, high, mean = (x[order, place] for x in (lower, upper, means))
        flagged = flags[:, place].astype(bool)
        axis.plot(times, values[:, place], ".", color="0.45", ms=4, label="measured")
        axis.fill_between(
            times[order], low, high, color="C0", alpha=0.2, lw=0, label=f"{100.0 * level:g} %"
        )
        axis.plot(times[order], mean, color="C0", lw=1.5, label="estimate")
        if flagged.any():
            axis.plot(
                times[flagged],
                values[flagged, place],
                "o",
                mfc="none",
                mec="C3",
                mew=1.3,
                ms=9,
                label="outlier",
            )
        axis.set_ylabel(escaped(name))
        finish(axis, legend=not place)
    return drawn


def plot_forecast(ahead: Any, axes: Any = None, *, level: float = 0.95) -> list[Any]:
    """Draw forecasts with the intervals of measurements; the arguments are as of `plot_estimates`.

    Raises
    ------
    ValueError
        If `level` is not between 0 and 1.
    """
    times, names = _times(ahead.times), ahead.layout.names
    lower, upper = (_columns(x) for x in ahead.interval(level, of="measurement"))
    means, drawn = _columns(ahead.mean), _axes(axes, len(names))
    for place, axis in enumerate(drawn):
        label = f"{100.0 * level:g} % of measurements"
        bounds = lower[:, place], upper[:, place]
        axis.fill_between(times, *bounds, color="C1", alpha=0.2, lw=0, label=label)
        axis.plot(times, means[:, place], "C1", lw=1.5, label="forecast")
        finish(axis, legend=not place)
    return drawn


def escaped(name: str) -> str:
    """Return a name that matplotlib shows as it is: dollar signs would begin a formula."""
    return name.replace("$", r"\$")


def finish(axis: Any, *, legend: bool) -> None:
    """Add the grid, and the legend above the picture."""
    axis.margins(x=0.01)
    axis.grid(alpha=0.25)
    if legend:
        place = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "borderaxespad": 0.2}
        axis.legend(fontsize=8, frameon=False, ncols=6, **place)


def _axes(axes: Any, count: int) -> list[Any]:
    if axes is None:
        pyplot = import_module("matplotlib.pyplot")
        size = (9.0, 3.2 * count)
        axes = pyplot.subplots(count, 1, figsize=size, sharex=True, layout="constrained")[1]
    drawn = list(np.ravel(np.asarray(axes, dtype=object)))
    if len(drawn) != count:
        msg = f"`axes` must be {count}, one for each column, got {len(drawn)}. Pass as many."
        raise ValueError(msg)
    return drawn


def _times(times: Any) -> Any:
    """Return times that matplotlib draws, (n,)."""
    if type(times).__name__ == "PeriodIndex":
        times = times.to_timestamp()
    return np.asarray(times) if getattr(times, "tz", None) is None else times.to_pydatetime()


def _columns(x: Any) -> Any:
    """Return the columns of an array of the shape of the values, (n, c)."""
    table = np.asarray(x)
    return table[:, None] if table.ndim == 1 else table
