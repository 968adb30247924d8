"""Figures of time and memory against the number of tokens."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.ticker import NullLocator

from afa_bench.cases import AFA
from afa_bench.records import Measurement, Record
from afa_bench.results import Run
from afa_bench.setting import Setting, from_json
from afa_core.layer.atomic import write_whole

# The colours of Okabe and Ito, each with its own marker.
STYLES = {
    AFA: ("#0072B2", "o", "this library"),
    "sdpa": ("#E69F00", "s", "dot-product attention with rotary encodings"),
    "sdpa-flash": ("#E69F00", "s", "dot-product attention with rotary encodings"),
    "dot_product_attention": ("#E69F00", "s", "dot-product attention with rotary encodings"),
    "products": ("#999999", "^", "the two matrix products alone"),
    "published": ("#D55E00", "D", "published algorithm"),
}
ORDER = ("torch", "jax", "numpy", "cupy")
"""Order of the libraries, those with gradients first."""


class Panel(NamedTuple):
    """What one pair of axes shows."""

    library: str
    backward: bool


Value = Callable[[Measurement], float | None]
"""A measured value, None if it was not measured."""

Points = dict[str, list[tuple[int, float]]]
"""Numbers of tokens and measured values, by the name of the candidate."""


def draw(run: Run, folder: Path) -> None:
    """Draw time and memory, each of a run's longest sweep of it, into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value, label in (
        ("time", seconds, "time (s)"),
        ("memory", megabytes, "peak extra memory (MB)"),
    ):
        records = sweep(run, value)
        panels = collect(records, value)
        if panels:
            _draw(folder / f"bench-{run.name}-{name}.png", panels, label, _title(records))


def seconds(found: Measurement) -> float | None:
    """Return the median time, None if it was not measured."""
    return median(found["seconds"]) if "seconds" in found else None


def megabytes(found: Measurement) -> float | None:
    """Return the peak extra memory in MB, at least one byte; None if it was not measured."""
    return 1e-6 * max(found["bytes"], 1) if "bytes" in found else None


def sweep(run: Run, value: Value) -> list[Record]:
    """Return the largest set of records that differ only in tokens, library and direction."""
    groups: dict[Setting, list[Record]] = defaultdict(list)
    for record in run.report["records"]:
        if any(value(each) is not None for each in record["candidates"].values()):
            setting = from_json(record["setting"])
            groups[setting._replace(tokens=0, library="", backward=False)].append(record)
    return max(groups.values(), key=len, default=[])


def collect(records: list[Record], value: Value) -> dict[Panel, Points]:
    """Return the points of each candidate, by panel, in order of the number of tokens."""
    panels: dict[Panel, Points] = {}
    for record in sorted(records, key=lambda each: int(each["setting"]["tokens"])):
        setting = from_json(record["setting"])
        points = panels.setdefault(Panel(setting.library, setting.backward), {})
        for name, found in record["candidates"].items():
            measured = value(found)
            if name in STYLES and measured is not None:
                points.setdefault(name, []).append((setting.tokens, measured))
    return {panel: points for panel, points in panels.items() if points}


def _title(records: list[Record]) -> str:
    setting = from_json(records[0]["setting"])
    return (
        f"{setting.form} {setting.weighting}, H={setting.heads}, d={setting.modes} complex modes, "
        f"{setting.dtype}, causal{setting.on_threads}"
    )


def _draw(path: Path, panels: dict[Panel, Points], label: str, title: str) -> None:
    mpl.use("Agg")
    libraries = [name for name in ORDER if any(panel.library == name for panel in panels)]
    directions = sorted({panel.backward for panel in panels})
    figure, axes = plt.subplots(
        len(directions),
        len(libraries),
        figsize=(max(4.2 * len(libraries), 8.4), 3.4 * len(directions) + 0.9),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for line, backward in zip(axes, directions, strict=True):
        for axis, library in zip(line, libraries, strict=True):
            panel = Panel(library, backward)
            if panel in panels:
                _plot(axis, panel, panels[panel], label)
            else:
                axis.remove()
    measured = [
        tokens for points in panels.values() for line in points.values() for tokens, _ in line
    ]
    ticks = [4**power for power in range(2, 12) if min(measured) <= 4**power <= max(measured)]
    for axis in figure.axes:
        axis.set_xticks(ticks, [str(tick) for tick in ticks])
    figure.suptitle(title, fontsize=12)
    _legend(figure, columns=4 if len(libraries) > 2 else 2)
    write_whole(path, lambda target: figure.savefig(target, dpi=120, metadata={"Software": None}))
    plt.close(figure)


def _plot(axis: Any, panel: Panel, points: Points, label: str) -> None:
    """Draw a line per candidate on logarithmic axes."""
    for name, (colour, mark, text) in STYLES.items():
        if name in points:
            tokens, values = zip(*points[name], strict=True)
            width = 2.2 if name == AFA else 1.5
            axis.plot(tokens, values, color=colour, marker=mark, ms=5, lw=width, label=text)
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.xaxis.set_minor_locator(NullLocator())
    axis.grid(alpha=0.25)
    direction = "forward and backward" if panel.backward else "forward"
    axis.set_title(f"{panel.library}, {direction}", fontsize=11)
    axis.set_xlabel("tokens N")
    axis.tick_params(labelbottom=True, labelleft=True)
    axis.set_ylabel(label)


def _legend(figure: Any, *, columns: int) -> None:
    """Add one legend for all axes."""
    handles = {
        text: handle
        for axis in figure.axes
        for handle, text in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        handles.values(),
        handles.keys(),
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        fontsize=10,
    )
