"""Time and memory against the number of tokens, drawn from a run."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from afa_bench.cases import AFA
from afa_bench.results import Run
from afa_bench.setting import Setting, from_json
from afa_core.command.series import write_whole

# Okabe and Ito's colours, with a mark each: neither is needed to read the other.
STYLES = {
    AFA: ("#0072B2", "o", "this library"),
    "sdpa": ("#E69F00", "s", "dot-product attention with rotary encodings"),
    "dot_product_attention": ("#E69F00", "s", "dot-product attention with rotary encodings"),
    "products": ("#999999", "^", "the two matrix products alone"),
    "published": ("#D55E00", "D", "published algorithm"),
}
ORDER = ("torch", "jax", "numpy", "cupy")  # those that differentiate first


class Panel(NamedTuple):
    """What one pair of axes shows."""

    library: str
    backward: bool


Points = dict[str, list[tuple[int, float]]]


def draw(run: Run, folder: Path) -> None:
    """Draw time and memory of a run's longest sweep into `folder`."""
    records = sweep(run)
    folder.mkdir(parents=True, exist_ok=True)
    for name, field, label, scale in (
        ("time", "seconds", "time (s)", 1.0),
        ("memory", "bytes", "peak extra memory (MB)", 1e-6),
    ):
        panels = collect(records, field, scale)
        if panels:
            _draw(folder / f"bench-{run.name}-{name}.png", panels, label, _title(records))


def sweep(run: Run) -> list[dict[str, Any]]:
    """Return the records that differ in tokens, library and direction alone, the most there are."""
    groups: dict[Setting, list[dict[str, Any]]] = defaultdict(list)
    for record in run.records:
        if any("seconds" in each for each in record["contenders"].values()):
            setting = from_json(record["setting"])
            groups[setting._replace(tokens=0, library="", backward=False)].append(record)
    return max(groups.values(), key=len, default=[])


def collect(records: list[dict[str, Any]], field: str, scale: float) -> dict[Panel, Points]:
    """Return the points of every contender, by panel, in order of the number of tokens."""
    panels: dict[Panel, Points] = {}
    for record in sorted(records, key=lambda each: int(each["setting"]["tokens"])):
        setting = from_json(record["setting"])
        points = panels.setdefault(Panel(setting.library, setting.backward), {})
        for name, found in record["contenders"].items():
            if name in STYLES and field in found:
                value = found[field]
                value = median(value) if isinstance(value, list) else max(value, 1)
                points.setdefault(name, []).append((setting.tokens, scale * value))
    return {panel: points for panel, points in panels.items() if points}


def _title(records: list[dict[str, Any]]) -> str:
    setting = from_json(records[0]["setting"])
    return (
        f"{setting.form} {setting.weighting}, H={setting.heads}, d={setting.modes} complex modes, "
        f"{setting.dtype}, causal"
    )


def _draw(path: Path, panels: dict[Panel, Points], label: str, title: str) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    libraries = [name for name in ORDER if any(panel.library == name for panel in panels)]
    directions = sorted({panel.backward for panel in panels})
    figure, axes = plt.subplots(
        len(directions),
        len(libraries),
        figsize=(4.2 * len(libraries), 3.4 * len(directions) + 0.9),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for line, backward in zip(axes, directions, strict=True):
        for axis, library in zip(line, libraries, strict=True):
            points = panels.get(Panel(library, backward))
            if points is None:
                axis.remove()
                continue
            _lines(axis, points)
            axis.set_title(f"{library}, forward{' and backward' if backward else ''}", fontsize=11)
            axis.set_xlabel("tokens N")
            axis.tick_params(labelbottom=True, labelleft=True)
            axis.set_ylabel(label)
    measured = [
        tokens for points in panels.values() for line in points.values() for tokens, _ in line
    ]
    ticks = [4**power for power in range(2, 12) if min(measured) <= 4**power <= max(measured)]
    for axis in figure.axes:
        axis.set_xticks(ticks, [str(tick) for tick in ticks])
    named = {
        text: handle
        for axis in figure.axes
        for handle, text in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.suptitle(title, fontsize=12)
    figure.legend(
        named.values(),
        named.keys(),
        loc="outside lower center",
        ncols=4,
        frameon=False,
        fontsize=10,
    )
    write_whole(path, lambda target: figure.savefig(target, dpi=120, metadata={"Software": None}))
    plt.close(figure)


def _lines(axis: Any, points: Points) -> None:
    """Draw a line for each contender, on axes that are logarithmic to the base of the tokens."""
    from matplotlib.ticker import NullLocator

    for name, (colour, mark, text) in STYLES.items():
        if name in points:
            tokens, values = zip(*points[name], strict=True)
            wide = 2.2 if name == AFA else 1.5
            axis.plot(tokens, values, color=colour, marker=mark, ms=5, lw=wide, label=text)
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.xaxis.set_minor_locator(NullLocator())
    axis.grid(alpha=0.25)
