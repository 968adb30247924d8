"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from afa_bench.bounds import Target
from afa_bench.results import NotMeasured, Run


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return rows of text under a head."""
    lines = [head, ["---"] * len(head), *rows]
    escaped = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return "".join(f"| {' | '.join(line)} |\n" for line in escaped)


def dropdown(title: str, text: str) -> str:
    """Return text that a page of Sphinx shows on demand."""
    return f":::{{dropdown}} {title}\n\n{text}\n:::\n"


def target_row(target: Target, run: Run) -> tuple[str, str, str, str]:
    """Return a target, its bound, its number and whether that is met."""
    try:
        number = target.measured(run)
    except NotMeasured as reason:
        return target.what, target.goal, f"not measured: {reason}", ""
    return target.what, target.goal, target.text(number), "yes" if target.met(number) else "no"
