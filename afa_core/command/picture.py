"""The picture of a filtered series: measurements, estimates, outliers, attention weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from afa_core.command.column import FilteredColumn
from afa_core.command.output import write_picture


def draw_columns(path: Path, time: str, columns: list[FilteredColumn]) -> None:
    """Draw filtered columns into a picture file, one below the other."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(
        len(columns),
        2,
        figsize=(13.0, 4.6 * len(columns)),
        width_ratios=[2.1, 1.0],
        squeeze=False,
        layout="constrained",
    )
    for (left, right), column in zip(axes, columns, strict=True):
        _draw_series(left, time, column)
        _draw_weights(figure, right, time, column)
    write_picture(path, figure)
    plt.close(figure)


def _draw_series(axis: Any, time: str, column: FilteredColumn) -> None:
    times, estimate = column.times, column.estimate
    low, high = estimate - 2.0 * column.deviation, estimate + 2.0 * column.deviation
    label = "± 2 estimated standard deviations"
    axis.fill_between(times, low, high, color="C0", alpha=0.18, lw=0, label=label)
    axis.plot(times, column.values, ".", color="0.35", ms=5, label="measurement")
    axis.plot(times, column.kalman_estimate, "C1--", lw=1.2, label="exact Kalman filter")
    axis.plot(times, estimate, color="C0", lw=1.8, label="adaptive filter attention")
    if column.outlier.any():
        axis.plot(
            times[column.outlier],
            column.values[column.outlier],
            "o",
            mfc="none",
            mec="C3",
            mew=1.5,
            ms=10,
            label="outlier",
        )
    axis.set(xlabel=time, ylabel=column.name, title="Filtered causally: each row from those before")
    axis.margins(x=0.01)
    axis.grid(alpha=0.25)
    axis.legend(fontsize=8, ncols=2, framealpha=0.9)


def _draw_weights(figure: Any, axis: Any, time: str, column: FilteredColumn) -> None:
    from matplotlib.colors import LogNorm

    rows, keys = column.attention.shape
    queries = column.times[-rows:]
    shown = column.attention[:, -rows:] if keys > rows else column.attention
    peak = float(shown.max()) or 1.0
    mesh = axis.pcolormesh(
        column.times[-shown.shape[1] :],
        queries,
        shown.clip(min=1e-12),
        norm=LogNorm(vmin=1e-3 * peak, vmax=peak),
        cmap="magma",
        shading="nearest",
        rasterized=True,
    )
    axis.invert_yaxis()
    axis.set(
        xlabel=f"{time} of the key",
        ylabel=f"{time} of the query",
        title="Attention weights",
        facecolor="black",
    )
    figure.colorbar(mesh, ax=axis, label="weight", extend="min")
