"""Figures of time and memory against the number of tokens."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from afa_bench.cases import AFA
from afa_bench.plotting import BLUE, GREY, ORANGE, RED, finish, logarithmic, panels
from afa_bench.records import Measurement, Record
from afa_bench.results import Run
from afa_bench.setting import Setting, from_json

SDPA = (ORANGE, "s", "dot-product attention with rotary encodings")
STYLES = {
    AFA: (BLUE, "o", "this library"),
    "sdpa": SDPA,
    "sdpa-flash": SDPA,
    "dot_product_attention": SDPA,
    "products": (GREY, "^", "the two matrix products alone"),
    "published": (RED, "D", "published algorithm"),
}
NAMES = {"torch": "PyTorch", "jax": "JAX", "numpy": "NumPy", "cupy": "CuPy"}
"""Names of the libraries, those with gradients first."""


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
        found = collect(records, value)
        if found:
            _draw(folder / f"bench-{run.name}-{name}.png", found, label, _title(records))


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
    found: dict[Panel, Points] = {}
    for record in sorted(records, key=lambda each: int(each["setting"]["tokens"])):
        setting = from_json(record["setting"])
        points = found.setdefault(Panel(setting.library, setting.backward), {})
        for name, measurement in record["candidates"].items():
            measured = value(measurement)
            if name in STYLES and measured is not None:
                points.setdefault(name, []).append((setting.tokens, measured))
    return {panel: points for panel, points in found.items() if points}


def _title(records: list[Record]) -> str:
    setting = from_json(records[0]["setting"])
    return (
        f"{setting.form} {setting.weighting}, H={setting.heads}, d={setting.modes}, "
        f"{setting.dtype}, causal{setting.on_threads}"
    )


def _draw(path: Path, found: dict[Panel, Points], label: str, title: str) -> None:
    """Draw the panels of a library side by side if it is the only one, else one below the other."""
    libraries = [name for name in NAMES if any(panel.library == name for panel in found)]
    directions = sorted({panel.backward for panel in found})
    grid = [[Panel(library, backward) for library in libraries] for backward in directions]
    if len(libraries) == 1:
        grid = [[panel for line in grid for panel in line]]
    figure, axes = panels(len(grid), len(grid[0]), 3.2)
    tokens = {count for points in found.values() for line in points.values() for count, _ in line}
    free = None
    for axis, panel in zip(axes.flat, (panel for line in grid for panel in line), strict=True):
        if panel in found:
            _plot(axis, panel, found[panel])
        else:
            free = axis
    for axis in axes.flat:
        if axis is not free:
            logarithmic(axis, tokens)
            axis.set_ylabel(label)
    finish(figure, path, title, columns=3, free=free)


def _plot(axis: Any, panel: Panel, points: Points) -> None:
    """Draw a line per candidate."""
    for name, (colour, mark, text) in STYLES.items():
        if name in points:
            tokens, values = zip(*points[name], strict=True)
            width = 2.2 if name == AFA else 1.5
            axis.plot(tokens, values, color=colour, marker=mark, ms=6, lw=width, label=text)
    direction = "forward and backward" if panel.backward else "forward"
    axis.set_title(f"{NAMES[panel.library]}, {direction}", fontsize=11)
