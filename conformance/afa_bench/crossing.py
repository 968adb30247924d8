"""The figure of the implementations on short sequences, and the table of their crossings."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

from afa_bench.crossover import HEADS, LENGTHS, LIBRARIES, THREADS, TILED, series_of
from afa_bench.figures import NAMES
from afa_bench.plotting import BLUE, GREY, ORANGE, finish, logarithmic, panels
from afa_bench.records import CrossoverReport, Record
from afa_bench.results import medians
from afa_bench.setting import from_json
from afa_bench.tables import markdown_table

STYLES = {"reference": (GREY, "^"), "streaming": (ORANGE, "s"), "fused": (BLUE, "o")}


def draw(report: CrossoverReport, path: Path) -> None:
    """Draw the times of the isotropic form on one thread, by library and number of heads."""
    figure, axes = panels(len(HEADS), len(LIBRARIES), 3.0)
    for records in series_of(report["points"]):
        setting = from_json(records[0]["setting"])
        if setting.form != "isotropic" or setting.threads != THREADS[0]:
            continue
        axis = axes[HEADS.index(setting.heads), LIBRARIES.index(setting.library)]
        heads = f"{setting.heads} head{'s' * (setting.heads > 1)}"
        axis.set_title(f"{NAMES[setting.library]}, {heads}", fontsize=11)
        _plot(axis, records)
    for axis in axes.flat:
        logarithmic(axis, LENGTHS, step=2)
        axis.set_ylabel("time (ms)")
    modes = from_json(report["points"][0]["setting"]).modes
    title = f"isotropic, d={modes}, float32, causal, forward, 1 thread"
    finish(figure, path, title, columns=4)


def _plot(axis: Any, records: list[Record]) -> None:
    """Draw a line per implementation, with a ring around the one that `auto` takes."""
    times = {int(each["setting"]["tokens"]): medians(each) for each in records}
    for name, (colour, marker) in STYLES.items():
        points = [(count, 1e3 * found[name]) for count, found in times.items() if name in found]
        if points:
            style = {"color": colour, "marker": marker, "lw": 2, "ms": 6, "label": name}
            axis.plot(*zip(*points, strict=True), **style)
    taken = [
        (count, 1e3 * found[chosen])
        for (count, found), record in zip(times.items(), records, strict=True)
        if (chosen := record.get("chosen", "")) in found
    ]
    ring = {"ls": "", "marker": "o", "ms": 12, "mfc": "none", "mec": "black"}
    axis.plot(*zip(*taken, strict=True), label="taken by auto", **ring)


def table(report: CrossoverReport) -> str:
    """Return the lengths from which on tiles are faster than the reference, a row per form."""
    cases: list[tuple[int, int]] = list(product(HEADS, THREADS))
    rows: dict[tuple[str, str, str], list[str]] = {}
    for found in report["crossings"]:
        setting = from_json(found["setting"])
        place = cases.index((setting.heads, setting.threads))
        for name in TILED:
            row = rows.setdefault((NAMES[setting.library], setting.form, name), [""] * len(cases))
            row[place] = str(found[name] or "–")
    titles = (f"H={heads}, {count} thread{'s' * (count > 1)}" for heads, count in cases)
    head = ("library", "form", "implementation", *titles)
    return markdown_table(head, [(*key, *cells) for key, cells in rows.items()])
