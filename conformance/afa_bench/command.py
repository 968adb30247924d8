"""The command ``python -m afa_bench``: from options to a printed table and a written record."""

from __future__ import annotations

import json
from argparse import Namespace as Options
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from afa_bench.baselines.select import choose
from afa_bench.cases import AFA
from afa_bench.machine import machine
from afa_bench.measure import Job, measure
from afa_bench.records import Record
from afa_bench.results import rows_of
from afa_bench.setting import LIBRARIES, Setting, from_json, require_choice
from afa_core import __version__
from afa_core.command.backends import load_usable
from afa_core.command.errors import CommandError
from afa_core.command.output import write_bytes
from afa_core.command.summary import text_table


def bench(options: Options) -> None:
    """Measure one setting and its baselines; print a table and write the record."""
    setting = _setting(options)
    _check(setting, options)
    backend = load_usable(setting.library, setting.device or None)
    baselines = choose(backend, setting, options.baseline)
    unsupported = {name: baseline.unsupported(setting) for name, baseline in baselines.items()}
    job = Job(setting, tuple(baselines), memory=not options.no_memory, repeats=options.repeats)
    facts = machine()
    record = measure(job, unsupported)
    print(summary(record))
    print("\n" + "\n".join(f"{name}: {each.title}" for name, each in baselines.items()))
    if options.output:
        write_json(options.output, {"version": __version__, "machine": facts, **record})
        print(f"\nwrote {options.output}")


def _setting(options: Options) -> Setting:
    return Setting(
        library=options.backend,
        form=options.form,
        weighting=options.weighting,
        batch=options.batch,
        heads=options.heads,
        tokens=options.tokens,
        modes=options.modes,
        dtype=options.dtype,
        backward=options.backward,
        implementation=options.implementation,
        device=options.device,
        irregular=options.irregular,
        correlated=options.correlated,
        threads=options.threads,
    )


def _check(setting: Setting, options: Options) -> None:
    """Raise CommandError for an invalid option or an output that exists."""
    require_choice("backend", options.backend, LIBRARIES)
    setting.check()
    if options.repeats < 1:
        msg = f"`repeats` must be at least 1, got {options.repeats}. Seven make a fair median."
        raise CommandError(msg)
    if options.output and options.output.exists() and not options.force:
        msg = f"{options.output}: exists already; choose another output or pass --force."
        raise CommandError(msg)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file atomically."""
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    write_bytes(path, text.encode())


def summary(record: Record) -> str:
    """Return the record of a setting as a table, followed by the reasons for missing values."""
    rows = rows_of(record)
    head = ("", "median time", f"{AFA} ÷ candidate", "quartiles", "peak extra memory")
    measured = [
        (row.label, row.time, row.ratio, " to ".join(row.quartiles), row.extra)
        for row in rows
        if not row.reason
    ]
    reasons = [f"{row.label} was not measured: {row.reason}" for row in rows if row.reason]
    title = from_json(record["setting"]).describe()
    return "\n".join([f"{title}\n", text_table(head, measured), *reasons])
