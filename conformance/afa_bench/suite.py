"""The suite: ``python -m afa_bench.suite [--quick | --short] --output FOLDER``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from afa_bench.baselines.select import available, instruments
from afa_bench.cases import AFA, CASES
from afa_bench.command import summary, write_json
from afa_bench.machine import machine
from afa_bench.measure import Job, measure, merge
from afa_bench.setting import Setting
from afa_bench.targets import TARGETS
from afa_core import __version__
from afa_core.backend import load

DOT_PRODUCT = {"torch": ("sdpa",), "jax": ("dot_product_attention",), "numpy": (), "cupy": ()}
LENGTHS = (256, 1024, 4096, 16384, 32768, 65536)
SHORT = LENGTHS[:3]
"""Those of a short run, which is the targets and little more."""
LONGEST = {"published": 16384, "products": 32768}
"""Tokens beyond which a rival is left out of the sweep: longer would say nothing new."""


def sweep(library: str, lengths: tuple[int, ...], *, modes: int, repeats: int) -> list[Job]:
    """Return time and memory against the number of tokens, forward and backward."""
    jobs = []
    for backward in (False, True) if library in ("torch", "jax") else (False,):
        floor = () if backward else ("products",)
        for tokens in lengths:
            setting = Setting(library, tokens=tokens, heads=2, modes=modes, backward=backward)
            rivals = tuple(
                name
                for name in (*DOT_PRODUCT[library], *floor, "published")
                if tokens <= LONGEST.get(name, tokens)
            )
            jobs.append(Job(setting, rivals, memory=True, repeats=repeats))
    return jobs


def variety(library: str) -> list[Job]:
    """Return other weightings, widths and dtypes at one length."""
    base = Setting(library)
    settings = [
        base._replace(weighting="gaussian"),
        base._replace(modes=32),
        base._replace(modes=128),
        base._replace(dtype="float64"),
    ]
    rivals = (*DOT_PRODUCT[library], "products")
    return [Job(setting, rivals) for setting in settings]


def jobs(libraries: list[str], *, quick: bool = False, short: bool = False) -> list[Job]:
    """Return what the suite measures."""
    if quick:
        return [
            job
            for library in libraries
            for job in sweep(library, (256, 1024), modes=32, repeats=3)
            if not job.setting.backward or job.setting.tokens == 256
        ]
    targets = [job for target in TARGETS for job in target.jobs]
    lengths = SHORT if short else LENGTHS
    swept = [job for each in libraries for job in sweep(each, lengths, modes=64, repeats=5)]
    varied = [] if short else [job for each in libraries for job in variety(each)]
    if "torch" in libraries and not short:
        # FlexAttention is compiled for minutes, so it is looked at once.
        varied.append(Job(Setting("torch"), ("flex", "published-folded"), memory=True))
    wanted = merge([*targets, *swept, *varied])
    return [job for job in wanted if job.setting.library in libraries]


def run(wanted: list[Job]) -> Iterator[dict[str, Any]]:
    """Measure the jobs one after the other, and print each as it is done."""
    for number, job in enumerate(wanted, start=1):
        record = measure(job, refusals(job))
        print(f"[{number}/{len(wanted)}] {summary(record)}\n", flush=True)
        yield record


def refusals(job: Job) -> dict[str, str]:
    """Return why contenders of a job cannot run it."""
    found = {AFA: CASES[job.setting.case].refusal(job.setting)}
    known = available(load(job.setting.library), job.setting)
    for name in job.rivals:
        unknown = "is no rival or implementation in this version"
        found[name] = known[name].refusal(job.setting) if name in known else unknown
    return found


def gpu(libraries: list[str]) -> str:
    """Return the name of the first GPU that one of the libraries sees, empty if none does."""
    return next(filter(None, (instruments(name).gpu() for name in libraries)), "")


def main(arguments: list[str] | None = None) -> int:
    """Run the suite on the libraries that can be used here, and write its report."""
    parser = argparse.ArgumentParser(prog="python -m afa_bench.suite")
    scope = parser.add_mutually_exclusive_group()
    scope.add_argument("--quick", action="store_true", help="small sizes, about two minutes")
    scope.add_argument("--short", action="store_true", help="the targets, under an hour")
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER")
    given = parser.parse_args(arguments)
    libraries = [name for name in DOT_PRODUCT if not load(name).unavailable]
    where = machine() | {"device": gpu(libraries)}
    name = "quick" if given.quick else "gpu" if where["device"] else "cpu"
    given.output.mkdir(parents=True, exist_ok=True)
    report = {"version": __version__, "quick": given.quick, "machine": where}
    records = []
    for record in run(jobs(libraries, quick=given.quick, short=given.short)):
        records.append(record)  # a run that is broken off leaves what it has measured
        write_json(given.output / f"{name}.json", report | {"records": records})
    return 0


if __name__ == "__main__":
    sys.exit(main())
