"""The figures of the page, each with what it shows in numbers of the run."""

from __future__ import annotations

from textwrap import fill

from afa_bench.cases import AFA
from afa_bench.figures import megabytes, seconds, sweep
from afa_bench.ratios import LINES
from afa_bench.results import Run
from afa_bench.setting import from_json
from afa_bench.units import bytes_text, digits

LONG = 1024
"""From this number of tokens on, attention is long in a caption."""


def figure(run: Run, name: str, alternative: str, text: str) -> str:
    """Return a figure in Markdown, and the text below it."""
    return f"![{alternative}](figures/bench-{run.name}-{name}.png)\n\n{fill(text, 100)}\n"


def ratio(run: Run) -> str:
    """Return the figure of ratios to dot-product attention; empty if none was measured."""
    short = [
        value
        for line in LINES[:-1]
        for backward in (False, True)
        for tokens, value in line.points(run, backward=backward).items()
        if tokens < LONG
    ]
    if not short:
        return ""
    parts = []
    for backward in (False, True):
        found = [line.points(run, backward=backward) for line in LINES[:2]]
        long = [value for each in found for tokens, value in each.items() if tokens >= LONG]
        if long:
            passes = "a training step" if backward else "the forward pass"
            parts.append(f"{passes} takes {_range(long)} times as long")
    slower = sum(value > 1.0 for value in short)
    text = (
        f"With independent keys, from {LONG:,} tokens on {' and '.join(parts)} as that of "
        "dot-product attention with rotary encodings. "
        f"Shorter sequences take {_range(short)} times as long; {slower} of {len(short)} are "
        "slower."
    )
    return figure(run, "ratio", "Time over that of dot-product attention", text + _correlated(run))


def _correlated(run: Run) -> str:
    """Return the sentence on correlated keys."""
    found = LINES[-1].points(run, backward=False)
    if not found:
        return ""
    listed = ", ".join(
        f"{digits(value)} times as long at {tokens:,}" for tokens, value in found.items()
    )
    others = LINES[0].points(run, backward=False)
    unmeasured = any(tokens < min(found) for tokens in others)
    shorter = "; shorter sequences were not measured" if unmeasured else ""
    return (
        " With correlated keys far ones are left out, and the forward pass takes "
        f"{listed} tokens{shorter}."
    )


def time(run: Run) -> str:
    """Return the figure of times; empty if there is none."""
    records = sweep(run, seconds)
    if not records:
        return ""
    text = (
        "Time grows with the square of the length, as that of dot-product attention does; on short "
        "sequences the work around the tiles shows."
    )
    if any(record["setting"]["library"] == "numpy" for record in records):
        text += " NumPy is beside its two matrix products alone."
    return figure(run, "time", "Time against the number of tokens", text)


def memory(run: Run) -> str:
    """Return the figure of memory; empty if there is none."""
    records = sweep(run, megabytes)
    settings = [
        from_json(record["setting"])
        for record in records
        if megabytes(record["candidates"][AFA]) is not None
    ]
    if not settings:
        return ""
    longest = max(settings, key=lambda each: (each.tokens, each.backward))
    text = (
        "Memory grows with the length, not with its square: "
        f"{bytes_text(run.bytes(longest))} at {longest.tokens:,} tokens, {longest.passes}."
    )
    return figure(run, "memory", "Peak extra memory against the number of tokens", text)


def _range(values: list[float]) -> str:
    return f"{digits(min(values))} to {digits(max(values))}"
