"""What all figures share: colours that most people can tell apart, axes of tokens, files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from afa_core.layer.atomic import write_whole

# The colours of Okabe and Ito.
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#888888"
WIDTH = 8.4
"""Inches; a page is about as wide, so that the text of a figure has the size of its own."""


def panels(rows: int, columns: int, height: float) -> tuple[Any, Any]:
    """Return a figure, and its axes as an array; `height` is that of a row in inches."""
    mpl.use("Agg")
    return plt.subplots(
        rows,
        columns,
        figsize=(WIDTH, height * rows + 0.9),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )


def logarithmic(axis: Any, tokens: Iterable[int], *, step: int = 4) -> None:
    """Make the axes of a plot logarithmic, with ticks at lengths that are powers of `step`."""
    measured = sorted(tokens)
    ticks = [step**power for power in range(12) if measured[0] <= step**power <= measured[-1]]
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    low, high = axis.get_ylim()
    few_decades = high < 1e3 * low
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few_decades else (1,)))
    axis.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axis.xaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.grid(alpha=0.3)
    axis.tick_params(labelbottom=True, labelleft=True)
    axis.set_xlabel("tokens N")


def finish(figure: Any, path: Path, title: str, *, columns: int, free: Any = None) -> None:
    """Add the title and one legend, below all axes or in those that are free; write the file."""
    handles = {
        text: handle
        for axis in figure.axes
        for handle, text in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.suptitle(title, fontsize=12)
    style = {"frameon": False, "fontsize": 10, "handlelength": 3}
    if free:
        free.axis("off")
        free.legend(handles.values(), handles.keys(), loc="center", **style)
    else:
        place = {"loc": "outside lower center", "ncols": columns}
        figure.legend(handles.values(), handles.keys(), **place, **style)
    write_whole(path, lambda target: figure.savefig(target, dpi=160, metadata={"Software": None}))
    plt.close(figure)
