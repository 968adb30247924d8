"""The command `bench`: what it does with its options, and what it prints."""

from __future__ import annotations

import json
from argparse import Namespace as Options
from pathlib import Path
from typing import Any

from afa_bench.baselines.select import choose
from afa_bench.cases import AFA
from afa_bench.machine import machine
from afa_bench.measure import Job, measure
from afa_bench.results import rows_of
from afa_bench.setting import LIBRARIES, Setting, require_choice
from afa_core import __version__
from afa_core.command.errors import CommandError
from afa_core.command.hosts import usable
from afa_core.command.series import write_whole
from afa_core.command.summary import table


def bench(options: Options) -> None:
    """Measure one setting beside its rivals; print a table, write the record."""
    require_choice("backend", options.backend, LIBRARIES)
    setting = Setting(
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
    )
    setting.check()
    if options.repeats < 1:
        msg = f"`repeats` must be at least 1, got {options.repeats}. Seven make a fair median."
        raise CommandError(msg)
    if options.output and options.output.exists() and not options.force:
        msg = f"{options.output}: exists already; choose another output or pass --force."
        raise CommandError(msg)
    backend = usable(options.backend, options.device or None)
    rivals = choose(backend, setting, options.rival)
    refusals = {name: rival.refusal(setting) for name, rival in rivals.items()}
    job = Job(setting, tuple(rivals), memory=not options.no_memory, repeats=options.repeats)
    where = machine()
    record = measure(job, refusals)
    print(summary(record))
    print("\n" + "\n".join(f"{name}: {rival.title}" for name, rival in rivals.items()))
    if options.output:
        write_json(options.output, {"version": __version__, "machine": where, **record})
        print(f"\nwrote {options.output}")


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file, whole or not at all."""
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"

    def write(target: Path) -> None:
        target.write_text(text, encoding="utf-8")

    write_whole(path, write)


def summary(record: dict[str, Any]) -> str:
    """Return the record of a setting as a table, and the reasons for what it lacks."""
    found = rows_of(record)
    head = ("", "median time", f"{AFA} ÷ it", "quartiles", "peak extra memory")
    measured = [
        (row.label, row.time, row.ratio, " to ".join(row.quartiles), row.extra)
        for row in found
        if not row.reason
    ]
    reasons = [f"{row.label} was not measured: {row.reason}" for row in found if row.reason]
    title = Setting(**record["setting"]).describe()
    return "\n".join([f"{title}\n", table(head, measured), *reasons])
