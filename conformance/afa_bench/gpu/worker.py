"""The process that measures on a GPU: ``python -m afa_bench.gpu.worker`` answers many requests.

A line of JSON on standard input has the library, the jobs, and whether to measure the rate of
matrix products. The answers are lines on standard output: a `Greeting`, then the record of each
job in order. Libraries and kernels are loaded once for all of them.
"""

from __future__ import annotations

import gc
import json
import sys
from contextlib import redirect_stdout, suppress
from functools import lru_cache
from typing import Any, TypedDict

from afa_bench import timing
from afa_bench.baselines.select import profiling, unsupported
from afa_bench.candidates import Call, Task
from afa_bench.cases import chosen
from afa_bench.gpu.peak import peaks
from afa_bench.gpu.sample import sampler
from afa_bench.inputs import Inputs, draw, transfer
from afa_bench.measure import Job
from afa_bench.records import Measurement, Record
from afa_bench.setting import Setting, from_json
from afa_bench.worker import entry, reason_of
from afa_core.backend import load

BUDGET = 0.25
"""Seconds of timing per candidate."""
RESTART = 75
"""Exit status of a process that can go on no more: the jobs that remain need another."""


class Greeting(TypedDict):
    """The first answer: the name of the GPU, empty if there is none, and rates by dtype."""

    device: str
    peaks: dict[str, float]


class Request(TypedDict):
    """What a process is to measure; each job by its fields, all of one library."""

    library: str
    jobs: list[dict[str, Any]]
    peaks: bool


def job_of(fields: dict[str, Any]) -> Job:
    """Return the job whose `_asdict` was written as JSON."""
    names = tuple(fields["baselines"])
    return Job(**fields)._replace(setting=from_json(fields["setting"]), baselines=names)


def measure(job: Job) -> Record:
    """Return the time and the memory of all candidates of a job."""
    setting = job.setting
    backend, measured_by = load(setting.library), profiling(setting.library)
    task = Task(setting, transfer(inputs(setting), setting, backend), backend, measured_by)
    reasons = unsupported(setting, job.candidates)
    found: dict[str, Measurement] = {
        name: {"reason": reason} if (reason := reasons[name]) else {} for name in job.candidates
    }
    calls: dict[str, Call] = {}
    for name in (name for name in job.candidates if not reasons[name]):
        try:
            call = entry(task, name).prepare(task)
            if job.memory:
                found[name] = _memory(task, call)
            measured_by.synchronize(call())
        except Exception as error:
            found[name] = {"reason": reason_of(error)}
        else:
            calls[name] = call
    gc.collect()
    gc.freeze()  # so that garbage collection before every sample takes no time
    sample = sampler(measured_by.synchronize)
    for name, seconds in timing.alternate(calls, job.repeats, BUDGET, sample).items():
        found[name]["seconds"] = seconds
    record: Record = {"setting": setting._asdict(), "candidates": found}
    return {**record, "chosen": chosen(task)}


def _memory(task: Task, call: Call) -> Measurement:
    """Return the peak memory of a device during a call, if its library can tell."""
    with suppress(RuntimeError):
        count = task.profiling.device_memory(call, task.setting.device)
        if count is not None:
            return {"bytes": count, "method": "device"}
    return {}


def inputs(setting: Setting) -> Inputs:
    """Return the inputs of a setting; its tokens are drawn once for all kinds of attention."""
    kept = _tokens(setting.batch, setting.heads, setting.tokens, setting.modes)
    model = draw(setting._replace(tokens=1))
    return kept._replace(sde=model.sde, weighting=model.weighting)


@lru_cache(maxsize=8)
def _tokens(batch: int, heads: int, tokens: int, modes: int) -> Inputs:
    return draw(Setting(batch=batch, heads=heads, tokens=tokens, modes=modes))


def lost(library: str) -> bool:
    """Return whether the device can be used no more by this process, as after a wrong access."""
    try:
        profiling(library).synchronize(None)
    except Exception:
        return True
    return False


def _greeting(request: Request) -> Greeting:
    library = request["library"]
    backend = load(library)
    if backend.unavailable:
        return {"device": "", "peaks": {}}
    measured_by, device = profiling(library), request["jobs"][0]["setting"]["device"]
    name = device if device == "cpu" else measured_by.gpu()
    rates = peaks(backend, measured_by.synchronize, device) if name and request["peaks"] else {}
    return {"device": name, "peaks": rates}


def main() -> int:
    """Answer the request on standard input; what libraries print goes to standard error."""
    request: Request = json.loads(sys.stdin.readline())
    lines = sys.stdout
    with redirect_stdout(sys.stderr):
        greeting = _greeting(request)
        print(json.dumps(greeting), file=lines, flush=True)
        for job in map(job_of, request["jobs"] if greeting["device"] else ()):
            try:
                record = measure(job)
            except Exception as error:
                record = failed(job, reason_of(error))
            print(json.dumps(record), file=lines, flush=True)
            if lost(request["library"]):
                return RESTART
    return 0


def failed(job: Job, reason: str) -> Record:
    """Return the record of a job of which nothing was measured."""
    found: dict[str, Measurement] = {name: {"reason": reason} for name in job.candidates}
    return {"setting": job.setting._asdict(), "candidates": found}


if __name__ == "__main__":
    sys.exit(main())
