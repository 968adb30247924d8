"""The figure of the time of attention over that of dot-product attention."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from matplotlib.ticker import LogLocator

from afa_bench.cpu import MANY, TORCH
from afa_bench.plotting import BLUE, GREEN, ORANGE, finish, logarithmic, panels
from afa_bench.results import Run, medians
from afa_bench.setting import Setting, from_json

BASELINE = "sdpa"


class Line(NamedTuple):
    """Settings that differ from `base` in their number of tokens."""

    label: str
    base: Setting
    colour: str
    marker: str
    dashes: str

    def points(self, run: Run, *, backward: bool) -> dict[int, float]:
        """Return the ratios by the number of tokens."""
        return dict(sorted(_ratios(run, self.base._replace(backward=backward))))


LINES = (
    Line("independent keys, 1 thread", TORCH._replace(threads=1), BLUE, "o", "--"),
    Line("independent keys, 2 threads", TORCH, BLUE, "o", "-"),
    Line("many short sequences, 1 thread", MANY._replace(threads=1), ORANGE, "s", "--"),
    Line("many short sequences, 2 threads", MANY, ORANGE, "s", "-"),
    Line("correlated keys, 2 threads", TORCH._replace(correlated=True), GREEN, "D", "-"),
)


def _ratios(run: Run, base: Setting) -> Iterator[tuple[int, float]]:
    for record in run.report["records"]:
        setting, times = from_json(record["setting"]), medians(record)
        if setting._replace(tokens=base.tokens) == base and BASELINE in times:
            yield setting.tokens, run.time(setting) / times[BASELINE]


def draw(run: Run, path: Path) -> None:
    """Draw the ratios of a run, if it has any, forward beside forward and backward."""
    found = {
        (line, backward): points
        for backward in (False, True)
        for line in LINES
        if (points := line.points(run, backward=backward))
    }
    if not found:
        return
    figure, (axes,) = panels(1, 2, 3.9)
    tokens = {count for points in found.values() for count in points}
    for axis, backward in zip(axes, (False, True), strict=True):
        axis.axhline(1.0, color="black", lw=1.2)
        axis.text(max(tokens), 0.97, "dot-product attention", ha="right", va="top")
        axis.set_title("forward and backward" if backward else "forward", fontsize=11)
        axis.set_ylabel("time ÷ time of dot-product attention")
        for (line, direction), points in found.items():
            if direction == backward:
                axis.plot(
                    *zip(*points.items(), strict=True),
                    color=line.colour,
                    marker=line.marker,
                    ls=line.dashes,
                    lw=2,
                    ms=6,
                    label=line.label,
                )
        logarithmic(axis, tokens)
        axis.yaxis.set_major_locator(LogLocator(base=2))
    title = (
        f"PyTorch, H=8, d=64; many short sequences: B={MANY.batch}, H={MANY.heads}, d={MANY.modes}"
    )
    finish(figure, path, title, columns=3)
