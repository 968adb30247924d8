"""The process that measures: ``python -m afa_bench.worker`` answers one request.

The request is a line of JSON on standard input, the answer is the last line of standard output.
Each measurement of memory has a process of its own; the candidates of a timing share one.
"""

from __future__ import annotations

import gc
import json
import sys
from math import inf
from typing import Any

from afa_bench import accuracy, memory, timing
from afa_bench.baselines.select import available, profiling
from afa_bench.candidates import Baseline, Call, Case, Task
from afa_bench.cases import AFA, CASES, chosen
from afa_bench.inputs import transfer
from afa_bench.records import Answer, Measurement, Record
from afa_bench.results import medians
from afa_bench.setting import Setting, from_json
from afa_core.backend import load

WARM_UP_TOKENS = 256
"""Tokens of the call that loads libraries and kernels before memory is measured."""

REFERENCE = "reference"
IMPLEMENTATIONS = (REFERENCE, "streaming", "fused")
SLOW = 4.0  # times as long as the fastest
MIN_SLOW = 0.05  # seconds below which even that is measured
BUDGET = 1.0  # seconds per implementation in a comparison of them


def answer(request: dict[str, Any]) -> Answer | Measurement | list[Record]:
    """Answer a request for ``time``, ``memory``, ``accuracy`` or ``crossover``."""
    setting = from_json(request["setting"])
    if request["task"] == "crossover":
        return _crossover(setting, request["series"], request["repeats"])
    if request["task"] == "accuracy":
        return _accuracy(setting)
    if request["task"] == "memory":
        return _memory(setting, request["candidate"])
    return _time(_task(setting), request["candidates"], request["repeats"])


def entry(task: Task, name: str) -> Case | Baseline:
    """Return the operation of this library, or the baseline of that name."""
    setting = task.setting
    return CASES[setting.case] if name == AFA else available(task.backend, setting)[name]


def prepare(task: Task, name: str) -> Call:
    """Return the call of a candidate, which ends when its result has been computed."""
    call = entry(task, name).prepare(task)
    return lambda: task.profiling.synchronize(call())


def _task(setting: Setting) -> Task:
    backend = load(setting.library)
    inputs = transfer(CASES[setting.case].inputs(setting), setting, backend)
    return Task(setting, inputs, backend, profiling(setting.library))


def _time(task: Task, candidates: list[str], repeats: int, budget: float = timing.BUDGET) -> Answer:
    setting = task.setting
    calls: dict[str, Call] = {}
    found: dict[str, Measurement] = {name: {} for name in candidates}
    for name in candidates:
        try:
            call = prepare(task, name)
            call()
        except Exception as error:
            found[name]["reason"] = reason_of(error)
        else:
            calls[name] = call
    gc.collect()
    gc.freeze()  # so that garbage collection before every sample takes no time
    for name, seconds in timing.alternate(calls, repeats, budget).items():
        found[name]["seconds"] = seconds
    explained = AFA in calls and setting.case == "attention"
    return {"candidates": found, "chosen": chosen(task) if explained else ""}


def _warm_up(setting: Setting, name: str) -> None:
    """Make a call with few tokens, so that what happens only once has happened."""
    small = setting._replace(tokens=min(WARM_UP_TOKENS, setting.tokens))
    prepare(_task(small), name)()


def _crossover(setting: Setting, series: list[list[dict[str, Any]]], repeats: int) -> list[Record]:
    """Time the implementations on settings that have other sizes and forms than the first.

    Once the reference takes `SLOW` times as long as another implementation, longer settings of a
    series are measured without it.
    """
    records: list[Record] = []
    for listed in series:
        names: list[str] = list(IMPLEMENTATIONS)
        for changes in listed:
            task = _task(setting._replace(**changes))
            candidates = _time(task, names, repeats, BUDGET).get("candidates", {})
            record: Record = {"setting": task.setting._asdict(), "candidates": candidates}
            records.append({**record, "chosen": chosen(task)})
            times = medians(record)
            slow = max(MIN_SLOW, SLOW * min(times.values(), default=inf))
            if times.get(REFERENCE, 0.0) > slow:
                names.remove(REFERENCE)
    return records


def _memory(setting: Setting, name: str) -> Measurement:
    try:
        _warm_up(setting, name)
        task = _task(setting)
        call = prepare(task, name)
        on_device = task.profiling.device_memory(call, setting.device)
        if on_device is not None:
            return {"bytes": on_device, "method": "device"}
        extra, method = memory.peak(call)
    except Exception as error:
        return {"reason": reason_of(error)}
    return {"bytes": extra, "method": method}


def _accuracy(setting: Setting) -> Answer:
    inputs = CASES[setting.case].inputs(setting)
    backend = load(setting.library)
    try:
        return {"errors": accuracy.errors(setting, inputs, backend, profiling(setting.library))}
    except Exception as error:
        return {"reason": reason_of(error)}


def reason_of(error: Exception) -> str:
    """Return the kind and the first line of an error."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def main() -> int:
    """Answer the request on standard input."""
    request = json.loads(sys.stdin.readline())
    setting = from_json(request["setting"])
    if (setting.device or load(setting.library).devices[0]).startswith("cpu"):
        memory.limit_memory()
    print(json.dumps(answer(request)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
