"""The suite: ``python -m afa_bench.suite [--quick | --gpu] [--only PATTERN] --output FOLDER``.

The whole suite measures the targets, time and memory for 256 to 65536 tokens, and other
weightings, widths and dtypes, in some hours. `--quick` measures time and memory for 256 and 1024
tokens with 32 modes, forward, and backward for 256 tokens, in a few minutes; no targets.
`--gpu` measures 1024 to 65536 tokens on the libraries that have a GPU, in minutes, the most
important settings first. `--only` measures the settings of some targets, and replaces their
records in an earlier report: `--only thread` those of compiled attention on a CPU; with `--gpu`
those settings whose text has the pattern. `--busy` writes a report of its own, which the page shows
beside the other.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from afa_bench.baselines.select import profiling, unsupported
from afa_bench.busy import busy
from afa_bench.command import summary, write_json
from afa_bench.gpu import run as gpu_run
from afa_bench.machine import machine
from afa_bench.measure import Job, measure, merge
from afa_bench.records import Record, Report
from afa_bench.reports import continued, replace
from afa_bench.results import BUSY
from afa_bench.setting import Setting
from afa_bench.targets import TARGETS
from afa_core import __version__
from afa_core.backend import load

DOT_PRODUCT = {"torch": ("sdpa",), "jax": ("dot_product_attention",), "numpy": (), "cupy": ()}
LENGTHS = (256, 1024, 4096, 16384, 32768, 65536)
QUICK_LENGTHS = (256, 1024)
MAX_TOKENS = {"published": 16384, "products": 32768}
"""Greatest number of tokens for which a baseline is measured."""


def sweep(library: str, lengths: tuple[int, ...], *, modes: int, repeats: int) -> list[Job]:
    """Return jobs for time and memory against the number of tokens, forward and backward."""
    jobs = []
    for backward in (False, True) if library in ("torch", "jax") else (False,):
        lower_bound = () if backward else ("products",)
        for tokens in lengths:
            setting = Setting(library, tokens=tokens, heads=2, modes=modes, backward=backward)
            baselines = tuple(
                name
                for name in (*DOT_PRODUCT[library], *lower_bound, "published")
                if tokens <= MAX_TOKENS.get(name, tokens)
            )
            jobs.append(Job(setting, baselines, memory=True, repeats=repeats))
    return jobs


def variety(library: str) -> list[Job]:
    """Return jobs for other weightings, widths and dtypes at one length."""
    base = Setting(library)
    settings = [
        base._replace(weighting="gaussian"),
        base._replace(modes=32),
        base._replace(modes=128),
        base._replace(dtype="float64"),
    ]
    baselines = (*DOT_PRODUCT[library], "products")
    return [Job(setting, baselines) for setting in settings]


def quick_jobs(libraries: list[str]) -> list[Job]:
    """Return the jobs of a quick run."""
    return [
        job
        for library in libraries
        for job in sweep(library, QUICK_LENGTHS, modes=32, repeats=3)
        if not job.setting.backward or job.setting.tokens == QUICK_LENGTHS[0]
    ]


def all_jobs(libraries: list[str]) -> list[Job]:
    """Return the jobs of the whole suite, the targets first."""
    targets = [job for target in TARGETS for job in target.jobs]
    swept = [job for each in libraries for job in sweep(each, LENGTHS, modes=64, repeats=5)]
    varied = [job for each in libraries for job in variety(each)]
    # FlexAttention takes minutes to compile, so it is measured for one setting.
    flex = Job(Setting("torch"), ("flex", "published-folded"), memory=True)
    merged = merge([*targets, *swept, *varied, flex])
    return [job for job in merged if job.setting.library in libraries]


def jobs_of(pattern: str, libraries: list[str]) -> list[Job]:
    """Return the whole jobs of all settings that a target needs whose text has the pattern."""
    found = {
        job.setting for target in TARGETS if re.search(pattern, target.what) for job in target.jobs
    }
    return [job for job in all_jobs(libraries) if job.setting in found]


def run(jobs: list[Job]) -> Iterator[Record]:
    """Measure the jobs one after the other, and print each record."""
    for number, job in enumerate(jobs, start=1):
        record = measure(job, unsupported(job.setting, job.candidates))
        print(f"[{number}/{len(jobs)}] {summary(record)}\n", flush=True)
        yield record


def gpu(libraries: list[str]) -> str:
    """Return the name of the first GPU of the libraries, empty if there is none."""
    return next(filter(None, (profiling(name).gpu() for name in libraries)), "")


def main(arguments: list[str] | None = None) -> int:
    """Run the suite on the libraries that can be used here, and write its report."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.gpu:
        return gpu_run.main(options.output, options.only or "")
    if options.quick and options.only:
        parser.error("--only: a quick run has no targets")
    libraries = [name for name in DOT_PRODUCT if not load(name).unavailable]
    facts = machine(gpu(libraries))
    name = "quick" if options.quick else "gpu" if facts["device"] else "cpu"
    path = options.output / f"{name}{BUSY if options.busy else ''}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    report: Report = {
        "version": __version__,
        "quick": options.quick,
        "busy": options.busy,
        "machine": facts,
        "records": [],
    }
    if options.only:
        jobs, report = jobs_of(options.only, libraries), continued(report, path)
    else:
        jobs = (quick_jobs if options.quick else all_jobs)(libraries)
    if not jobs:
        parser.error(f"--only: the text of no target has the pattern {options.only!r}")
    with busy(options.busy):
        for record in run(jobs):
            replace(report["records"], record)
            # Written after every record, so that an interrupted run keeps what it has measured.
            write_json(path, report)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m afa_bench.suite")
    shorter = parser.add_mutually_exclusive_group()
    shorter.add_argument(
        "--quick",
        action="store_true",
        help="256 and 1024 tokens only, without the targets: minutes instead of hours",
    )
    shorter.add_argument("--gpu", action="store_true", help="libraries that have a GPU: minutes")
    parser.add_argument(
        "--only",
        metavar="PATTERN",
        help="settings of the targets whose text has a regular expression, with --gpu settings "
        "whose text has it; their records replace those in the report of the folder",
    )
    parser.add_argument(
        "--busy",
        type=int,
        default=0,
        metavar="COUNT",
        help="keep so many other processes busy, and write a report of its own",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER")
    return parser


if __name__ == "__main__":
    sys.exit(main())
