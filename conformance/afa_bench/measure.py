"""Measure jobs, each in fresh processes, and collect what they answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from typing import Any, NamedTuple

from afa_bench.cases import AFA
from afa_bench.setting import Setting

LIMIT = 900.0  # seconds that one process may take


class Job(NamedTuple):
    """A setting to be measured with its rivals.

    Parameters
    ----------
    setting : Setting
    rivals : tuple of str
    time, memory, accuracy : bool
        What is measured.
    repeats : int
        Rounds of timing.
    """

    setting: Setting
    rivals: tuple[str, ...] = ()
    time: bool = True
    memory: bool = False
    accuracy: bool = False
    repeats: int = 7

    @property
    def contenders(self) -> tuple[str, ...]:
        """Names of all that take part, this library's first."""
        return (AFA, *self.rivals)


def merge(jobs: Iterable[Job]) -> list[Job]:
    """Return the jobs with those of one setting made one, in order of their first mention."""
    found: dict[Setting, Job] = {}
    for job in jobs:
        one = found.setdefault(job.setting, job)
        found[job.setting] = Job(
            job.setting,
            tuple(dict.fromkeys((*one.rivals, *job.rivals))),
            one.time or job.time,
            one.memory or job.memory,
            one.accuracy or job.accuracy,
            max((each.repeats for each in (one, job) if each.time), default=job.repeats),
        )
    return list(found.values())


def measure(job: Job, refusals: dict[str, str], limit: float = LIMIT) -> dict[str, Any]:
    """Return the record of a job.

    Parameters
    ----------
    job : Job
    refusals : dict
        From the names of contenders that are not run to the reason.
    limit : float
        Seconds after which a process is given up.

    Returns
    -------
    dict
        ``setting``; ``contenders``, each with ``seconds`` of every round, ``bytes`` of peak
        extra memory and the ``method`` that found them, or a ``reason`` why not; ``chosen``,
        the implementation that ran; ``errors`` relative to double precision.
    """
    setting = job.setting._asdict()
    found: dict[str, dict[str, Any]] = {name: {} for name in job.contenders}
    for name in job.contenders:
        if refusals.get(name):
            found[name]["reason"] = refusals[name]
    record: dict[str, Any] = {"setting": setting, "contenders": found}
    if job.memory:
        for name in _left(found):
            found[name] |= ask({"task": "memory", "setting": setting, "contender": name}, limit)
    if job.time and _left(found):
        request = {"task": "time", "setting": setting, "contenders": _left(found)}
        answer = ask(request | {"repeats": job.repeats}, limit * len(found))
        for name in _left(found):
            found[name] |= answer.get("contenders", {}).get(name, {"reason": answer.get("reason")})
        record["chosen"] = answer.get("chosen", "")
    if job.accuracy and AFA in _left(found):
        record |= ask({"task": "accuracy", "setting": setting}, limit)
    return record


def ask(request: dict[str, Any], limit: float) -> dict[str, Any]:
    """Return what a fresh process answers, or why it did not."""
    # JAX computes in single precision unless it is asked for more before it is imported.
    wide = request["task"] == "accuracy" or request["setting"]["dtype"] == "float64"
    try:
        done = subprocess.run(
            [sys.executable, *_flags(), "-m", "afa_bench.worker"],
            input=json.dumps(request) + "\n",
            env=os.environ | {"JAX_ENABLE_X64": str(int(wide))},
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"reason": f"took more than {limit:.0f} s"}
    lines = done.stdout.strip().splitlines()
    if done.returncode == 0 and lines:
        answer: dict[str, Any] = json.loads(lines[-1])
        return answer
    said = done.stderr.strip().splitlines()
    ended = f"signal {-done.returncode}" if done.returncode < 0 else f"status {done.returncode}"
    return {"reason": f"its process ended with {ended}" + (f": {said[-1][:200]}" if said else "")}


def _flags() -> list[str]:
    """Keep the working folder off the path of the worker where it is off ours."""
    return ["-P"] if sys.flags.safe_path else []


def _left(found: dict[str, dict[str, Any]]) -> list[str]:
    return [name for name, each in found.items() if "reason" not in each]
