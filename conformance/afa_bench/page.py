"""The page of benchmarks: ``python -m afa_bench.page FOLDER --output PAGE``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from contextlib import suppress
from itertools import groupby
from pathlib import Path

from afa_bench import captions, crossing, ratios
from afa_bench.bounds import Target, times
from afa_bench.cases import AFA
from afa_bench.crossover import LENGTHS
from afa_bench.figures import draw
from afa_bench.gpu import section
from afa_bench.method import method
from afa_bench.questions import QUESTIONS
from afa_bench.records import CrossoverReport, Machine, Record, Report
from afa_bench.results import BUSY, NotMeasured, Run, read_report, rows_of
from afa_bench.setting import from_json
from afa_bench.tables import dropdown, markdown_table, target_row
from afa_bench.targets import TARGETS

INTRODUCTION = """\
# Benchmarks

What attention costs in time and memory, beside dot-product attention and other baselines. Generated
by `nox -s bench` from the reports in `docs/reports/bench`; not edited by hand. A ratio is the time
of this library over that of a baseline: below 1 this library is faster, above 1 it is slower. Sizes
are B sequences of N tokens with H heads of d complex modes, 2d channels.
"""

CROSSOVER = """\
## Which implementation on short sequences?

`auto` takes the reference implementation for few pairs of tokens, and tiles for more: the compiled
loops of Numba, `fused`, where they are installed, else `streaming`.
"""

MAX_BUSY_RATIO = 1.3
"""Bound of a number beside busy processes over the same number without them."""


def read(folder: Path) -> list[Run]:
    """Read the reports of a folder; quick ones are used only if there is no other."""
    reports = {path.stem: read_report(path) for path in sorted(folder.glob("*.json"))}
    runs = [
        Run(name, report, reports.get(name + BUSY))
        for name, report in reports.items()
        if "records" in report and not name.endswith(BUSY)
    ]
    return [run for run in runs if not run.report["quick"]] or runs


def read_crossover(folder: Path) -> CrossoverReport | None:
    """Read the report of `afa_bench.crossover` in a folder, if there is one."""
    path = folder / "crossover.json"
    report: CrossoverReport | None = json.loads(path.read_text("utf-8")) if path.exists() else None
    return report


def page(runs: Iterable[Run], crossover: CrossoverReport | None = None) -> str:
    """Return the page in Markdown: figures, questions, GPUs, method, all values, targets."""
    runs = list(runs)
    host = [run for run in runs if not run.report["machine"]["device"]]
    devices = [run for run in runs if run.report["machine"]["device"]]
    parts = [INTRODUCTION]
    for run in host:
        parts += [_machine(run), captions.ratio(run), captions.time(run), captions.memory(run)]
        parts += [question.markdown(run) for question in QUESTIONS]
    if crossover:
        parts.append(_crossover(crossover))
    parts += [_device(run) for run in devices] or [section.PENDING]
    parts += [method(), "## All values\n", *map(_numbers, host)]
    parts += ["## Targets\n", *map(_targets, host), *map(section.targets, devices)]
    if not devices:
        parts.append(section.pending())
    return "\n".join(part for part in parts if part)


def _device(run: Run) -> str:
    """Return the section of a run on a GPU."""
    figures = captions.time(run), captions.memory(run)
    title = f"## {run.report['machine']['device']}\n"
    return "\n".join([title, _machine(run), *filter(None, figures), section.values(run)])


def _crossover(report: CrossoverReport) -> str:
    figure = "![Time of each implementation on short sequences](figures/bench-crossover.png)\n"
    table = (
        "Number of tokens from which on an implementation is as fast as the reference; – where it "
        f"is not up to {max(LENGTHS)}:\n"
    )
    facts = f"Measured on {_facts(report['machine'])}\n"
    return "\n".join([CROSSOVER, figure, facts, table, crossing.table(report)])


def _machine(run: Run) -> str:
    """Return what a run was measured on."""
    quick = "A quick run of small sizes, which only tests the suite. " * run.report["quick"]
    return f"{quick}Measured on {_facts(run.report['machine'])}\n"


def _facts(facts: Machine) -> str:
    """Return a machine, its load and its versions in one line."""
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    memory = f", {facts['memory_gib']} GiB of memory" if facts["memory_gib"] else ""
    threads = f", OMP_NUM_THREADS={facts['threads']}" if facts["threads"] else ""
    load = facts["load_before"]
    busy = "" if load is None else f", load average {load} before the run"
    return (
        f"{facts['processor']}, {facts['cores']} cores{memory}{threads}{busy}, {facts['system']}, "
        f"Python {facts['python']}; {versions}."
    )


def _targets(run: Run) -> str:
    """Return how many targets are met, and the table of all of them."""
    rows = [_target(target, run) for target in TARGETS]
    met = sum(row[3] == "yes" for row in rows)
    missed = sum(row[3] == "no" for row in rows)
    text = (
        f"On a CPU {met} of {len(rows)} targets are met, {missed} are missed and "
        f"{len(rows) - met - missed} were not measured. Unless stated otherwise: isotropic, "
        "N=4096, H=8, d=64, float32. Candidates of one setting were measured together.\n"
    )
    head: tuple[str, ...] = ("what", "target", "measured", "met")
    if run.busy:
        count = run.busy.get("busy")
        text += f"The last columns: beside {count} busy processes, and that over the value alone.\n"
        head = (*head, "busy", f"≤ {MAX_BUSY_RATIO} ×")
    return f"{text}\n{dropdown('Targets on a CPU', markdown_table(head, rows))}"


def _target(target: Target, run: Run) -> tuple[str, ...]:
    row = target_row(target, run)
    if not run.busy:
        return row
    with suppress(NotMeasured):
        return (*row, *_beside(target, target.measured(run), run.busy))
    return (*row, "", "")


def _beside(target: Target, alone: float, report: Report) -> tuple[str, str]:
    """Return a number that was measured beside busy processes, and its ratio to that alone."""
    try:
        number = target.measured(Run("", report))
    except NotMeasured:
        return "", ""
    ratio = number / alone
    return target.text(number), f"{times(ratio)}: {'yes' if ratio <= MAX_BUSY_RATIO else 'no'}"


def _numbers(run: Run) -> str:
    """Return all times and memory, a table per library."""
    parts = []
    records = sorted(run.report["records"], key=_library)
    for library, listed in groupby(records, key=_library):
        rows = [row for record in listed for row in _rows(record)]
        if rows:
            ratio = f"{AFA} ÷ candidate"
            head = ("setting", "candidate", "median time", ratio, "quartiles", "peak extra memory")
            parts.append(dropdown(library, markdown_table(head, rows)))
    return "\n".join(parts)


def _library(record: Record) -> str:
    return str(record["setting"]["library"])


def _rows(record: Record) -> list[tuple[str, ...]]:
    """Return a row per candidate; none for a setting of which only the accuracy was measured."""
    setting = from_json(record["setting"])
    described = setting.describe().removeprefix(f"{setting.library} ")
    return [
        (
            described if row.name == AFA else "",
            row.label,
            f"not measured: {row.reason}" if row.reason else row.time,
            row.ratio,
            " – ".join(row.quartiles),
            row.extra,
        )
        for row in rows_of(record)
        if row.reason or row.time or row.extra
    ]


def main(arguments: list[str] | None = None) -> int:
    """Write the page of the reports in a folder, and its figures."""
    parser = argparse.ArgumentParser(prog="python -m afa_bench.page")
    parser.add_argument("folder", type=Path, help="folder of reports written by the suite")
    parser.add_argument("--output", type=Path, required=True, metavar="PAGE")
    parser.add_argument("--figures", type=Path, metavar="FOLDER", help="also draw the figures")
    options = parser.parse_args(arguments)
    runs, crossover = read(options.folder), read_crossover(options.folder)
    options.output.write_text(page(runs, crossover), encoding="utf-8")
    if options.figures:
        for run in runs:
            draw(run, options.figures)
            ratios.draw(run, options.figures / f"bench-{run.name}-ratio.png")
        if crossover:
            crossing.draw(crossover, options.figures / "bench-crossover.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
