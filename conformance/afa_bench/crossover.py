"""From which length tiles are faster: ``python -m afa_bench.crossover --output JSON``.

Times the implementations of attention, forward, for few tokens and heads, with one thread and two,
in some minutes. It prints which one `auto` takes, and how much longer that takes than the fastest:
the thresholds of `afa_core.streaming.engine.Engine` follow from this.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from itertools import groupby, product
from math import inf
from pathlib import Path

from afa_bench.command import write_json
from afa_bench.machine import machine
from afa_bench.measure import ask
from afa_bench.records import Record
from afa_bench.results import medians
from afa_bench.setting import FORMS, Setting, from_json
from afa_core import __version__
from afa_core.backend import load
from afa_core.command.summary import text_table

LIBRARIES = ("numpy", "torch")
THREADS = (1, 2)
HEADS = (1, 32)
LENGTHS = (8, 16, 32, 64, 128, 256, 512)
TILED = ("streaming", "fused")
BASE = Setting(modes=16)
REPEATS = 5
TIME_LIMIT = 600.0  # seconds per process


def measure() -> Iterator[Record]:
    """Yield a record for each library, number of threads, form, number of heads, and length.

    Raises
    ------
    RuntimeError
        If a process ends without an answer.
    """
    series = [
        [{"form": form, "heads": heads, "tokens": tokens} for tokens in LENGTHS]
        for form, heads in product(FORMS, HEADS)
    ]
    for library, threads in product(LIBRARIES, THREADS):
        if load(library).unavailable:
            continue
        setting = BASE._replace(library=library, threads=threads)._asdict()
        request = {"task": "crossover", "setting": setting, "series": series, "repeats": REPEATS}
        found = ask(request, TIME_LIMIT)
        if not isinstance(found, list):
            raise RuntimeError(found["reason"])
        yield from found


def crossing(series: list[Record], name: str) -> int | None:
    """Return the length from which on an implementation is as fast as the reference, if any."""
    found = None
    for record in reversed(series):
        times = medians(record)
        if name not in times or times[name] > times.get("reference", inf):
            break
        found = int(record["setting"]["tokens"])
    return found


def slowdown(record: Record) -> str:
    """Return what `auto` takes, and its time over that of the fastest."""
    times, chosen = medians(record), record.get("chosen", "")
    ratio = f"{times[chosen] / min(times.values()):.2f}" if chosen in times else "slow"
    return f"{chosen} {ratio}"


def series_of(records: list[Record]) -> list[list[Record]]:
    """Return the records of each library, form, and number of heads and threads."""

    def without_tokens(record: Record) -> Setting:
        return from_json(record["setting"])._replace(tokens=0)

    return [list(each) for _, each in groupby(records, key=without_tokens)]


def table(records: list[Record]) -> str:
    """Return a row per series: where the tiled implementations cross the reference, and `auto`."""
    rows = []
    for series in series_of(records):
        setting = from_json(series[0]["setting"])
        described = (
            f"{setting.library} {setting.form}, H={setting.heads}, threads={setting.threads}"
        )
        found = (crossing(series, name) for name in TILED)
        crossings = ("never" if tokens is None else str(tokens) for tokens in found)
        rows.append((described, *crossings, *map(slowdown, series)))
    return text_table(("", *TILED, *(f"auto, N={n}" for n in LENGTHS)), rows)


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the table, and write it with all times."""
    parser = argparse.ArgumentParser(prog="python -m afa_bench.crossover")
    parser.add_argument("--output", type=Path, required=True, metavar="JSON")
    options = parser.parse_args(arguments)
    facts, records = machine(), list(measure())
    print(table(records))
    crossings = [
        {
            "setting": series[0]["setting"] | {"tokens": None},
            **{name: crossing(series, name) for name in TILED},
        }
        for series in series_of(records)
    ]
    report = {"version": __version__, "machine": facts, "crossings": crossings, "points": records}
    write_json(options.output, report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
