"""Jobs, and how they are measured in fresh processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from typing import Any, NamedTuple

from afa_bench.cases import AFA
from afa_bench.records import Measurement, Record
from afa_bench.setting import Setting

TIME_LIMIT = 900.0  # seconds per process
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


class Job(NamedTuple):
    """A setting to be measured beside its baselines.

    Parameters
    ----------
    setting : Setting
    baselines : tuple of str
    time, memory, accuracy : bool
        What is measured.
    repeats : int
        Rounds of timing.
    """

    setting: Setting
    baselines: tuple[str, ...] = ()
    time: bool = True
    memory: bool = False
    accuracy: bool = False
    repeats: int = 7

    @property
    def candidates(self) -> tuple[str, ...]:
        """Names of all candidates, this library first."""
        return (AFA, *self.baselines)


def merge(jobs: Iterable[Job]) -> list[Job]:
    """Return one job per setting, in order of first occurrence."""
    merged: dict[Setting, Job] = {}
    for job in jobs:
        first = merged.setdefault(job.setting, job)
        merged[job.setting] = Job(
            job.setting,
            tuple(dict.fromkeys((*first.baselines, *job.baselines))),
            first.time or job.time,
            first.memory or job.memory,
            first.accuracy or job.accuracy,
            max((each.repeats for each in (first, job) if each.time), default=job.repeats),
        )
    return list(merged.values())


def measure(job: Job, unsupported: dict[str, str], limit: float = TIME_LIMIT) -> Record:
    """Return the record of a job.

    Parameters
    ----------
    job : Job
    unsupported : dict
        Reasons why candidates cannot run the setting, by name; empty for those that can.
    limit : float
        Seconds after which a process is terminated.
    """
    setting = job.setting._asdict()
    found: dict[str, Measurement] = {
        name: {"reason": reason} if (reason := unsupported.get(name)) else {}
        for name in job.candidates
    }
    record: Record = {"setting": setting, "candidates": found}
    if job.memory:
        for name in _runnable(found):
            found[name].update(
                ask({"task": "memory", "setting": setting, "candidate": name}, limit)
            )
    if job.time and _runnable(found):
        request = {"task": "time", "setting": setting, "candidates": _runnable(found)}
        answer = ask(request | {"repeats": job.repeats}, limit * len(found))
        for name in _runnable(found):
            default = {"reason": answer.get("reason")}
            found[name].update(answer.get("candidates", {}).get(name, default))
        record["chosen"] = answer.get("chosen", "")
    if job.accuracy and AFA in _runnable(found):
        record.update(ask({"task": "accuracy", "setting": setting}, limit))
    return record


def ask(request: dict[str, Any], limit: float) -> Any:
    """Send a request to `afa_bench.worker` in a fresh process; return its answer or a reason."""
    # JAX computes in single precision unless double precision is enabled before its import.
    double = request["task"] == "accuracy" or request["setting"]["dtype"] == "float64"
    try:
        done = subprocess.run(
            [sys.executable, *flags(), "-m", "afa_bench.worker"],
            input=json.dumps(request) + "\n",
            env=os.environ | {"JAX_ENABLE_X64": str(int(double))} | _threads(request["setting"]),
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"reason": f"took more than {limit:.0f} s"}
    lines = done.stdout.strip().splitlines()
    if done.returncode == 0 and lines:
        return json.loads(lines[-1])
    status = f"signal {-done.returncode}" if done.returncode < 0 else f"status {done.returncode}"
    errors = done.stderr.strip().splitlines()
    detail = f": {errors[-1][:200]}" if errors else ""
    return {"reason": f"its process ended with {status}{detail}"}


def _threads(setting: dict[str, Any]) -> dict[str, str]:
    """Return the environment that sets the threads of OpenMP (torch), BLAS and Numba."""
    return dict.fromkeys(THREADS, str(setting["threads"])) if setting["threads"] else {}


def flags() -> list[str]:
    """Keep the working directory off the path of the worker if it is off the path here."""
    return ["-P"] if sys.flags.safe_path else []


def _runnable(found: dict[str, Measurement]) -> list[str]:
    return [name for name, each in found.items() if "reason" not in each]
