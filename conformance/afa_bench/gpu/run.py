"""Measures jobs on GPUs: one process per library, or a new one where it ends early."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import deque
from collections.abc import Generator, Iterator
from itertools import groupby
from pathlib import Path
from threading import Timer
from typing import Any

from afa_bench.command import summary, write_json
from afa_bench.gpu.jobs import jobs as all_jobs
from afa_bench.gpu.worker import RESTART, failed
from afa_bench.machine import machine
from afa_bench.measure import Job, flags
from afa_bench.records import Record, Report
from afa_bench.reports import combine, continued
from afa_core import __version__

LIMIT = 150.0
"""Seconds for a job; FlexAttention takes up to a minute to compile, twice."""
MAX_FAILURES = 2
"""Processes of a library that may end without an answer, one after the other."""
ENVIRONMENT = {
    # In single precision, as users of JAX compute; by default it takes most of the memory.
    "JAX_ENABLE_X64": "0",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}
WORKER = ("-m", "afa_bench.gpu.worker")

Answer = dict[str, Any]


def measure(jobs: list[Job], report: Report) -> Iterator[Record]:
    """Yield the records of the jobs whose library has a GPU; complete the machine of a report."""
    rates = True
    for _, listed in groupby(jobs, key=lambda job: job.setting.library):
        for answer in _of_library(deque(listed), rates=rates):
            if "device" not in answer:
                yield answer  # type: ignore[misc]
            elif answer["device"]:
                report["machine"]["device"] = answer["device"]
                if answer["peaks"]:
                    report["machine"]["peaks"] = answer["peaks"]
        rates = False


def _of_library(jobs: deque[Job], *, rates: bool) -> Iterator[Answer]:
    """Yield the answers of as many processes as it takes."""
    failures = 0
    while jobs:
        before = len(jobs)
        reason = yield from _of_process(jobs, rates=rates)
        if reason is None:  # there is no GPU
            return
        failures = failures + 1 if len(jobs) == before else 0
        if jobs and reason:
            yield {**failed(jobs.popleft(), reason)}
        if failures == MAX_FAILURES:
            yield from ({**failed(each, reason)} for each in jobs)
            return


def _of_process(jobs: deque[Job], *, rates: bool) -> Generator[Answer, None, str | None]:
    """Yield the answers of a process, and remove the jobs that it has measured.

    Returns
    -------
    str or None
        Why it ended early, empty if it did not; None if its library has no GPU.
    """
    process = subprocess.Popen(
        [sys.executable, *flags(), *WORKER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | ENVIRONMENT,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    stopped: list[bool] = []
    watch = _watch(process, stopped)
    try:
        listed = [{**job._asdict(), "setting": job.setting._asdict()} for job in jobs]
        request = {"library": jobs[0].setting.library, "jobs": listed, "peaks": rates}
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.close()
        for line in process.stdout:
            watch.cancel()
            answer: Answer = json.loads(line)
            if "device" not in answer:
                jobs.popleft()
            yield answer
            if answer.get("device") == "":
                return None
            watch = _watch(process, stopped)
        status = process.wait()
    finally:
        watch.cancel()
        process.kill()
        process.stdout.close()
        process.wait()
    if stopped:
        return f"took more than {LIMIT:.0f} s"
    return "" if status in (0, RESTART) else f"its process ended with status {status}"


def _watch(process: subprocess.Popen[str], stopped: list[bool]) -> Timer:
    """Start a clock that ends a process after `LIMIT` seconds, and notes that it did."""

    def stop() -> None:
        stopped.append(True)
        process.kill()

    timer = Timer(LIMIT, stop)
    timer.daemon = True
    timer.start()
    return timer


def main(folder: Path, pattern: str = "") -> int:
    """Measure the jobs whose setting has a pattern, and write ``gpu.json``.

    With a pattern, what was measured before remains in the report.

    Returns
    -------
    int
        Exit status: 1 if no library has a GPU.
    """
    path = folder / "gpu.json"
    folder.mkdir(parents=True, exist_ok=True)
    report: Report = {
        "version": __version__,
        "quick": False,
        "machine": machine(),
        "records": [],
    }
    if pattern:
        report = continued(report, path)
    jobs = [job for job in all_jobs() if re.search(pattern, job.setting.describe())]
    for number, record in enumerate(measure(jobs, report), start=1):
        print(f"[{number}/{len(jobs)}] {summary(record)}\n", flush=True)
        combine(report["records"], record)
        # Written after every record, so that an interrupted run keeps what it has measured.
        write_json(path, report)
    if not report["machine"]["device"]:
        print("No library has a GPU here.", file=sys.stderr)
        return 1
    return 0
