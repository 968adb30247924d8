"""The process that measures: ``python -m afa_bench.worker`` answers one request.

A request is a line of JSON on standard input, the answer the last line of standard output. Every
measurement of memory has a process of its own; contenders for time share one.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from afa_bench import accuracy, memory, timing
from afa_bench.baselines import select as rivals
from afa_bench.candidates import Call, Task
from afa_bench.cases import AFA, CASES, chosen
from afa_bench.inputs import send
from afa_bench.setting import Setting, from_json
from afa_core.backend import load

SMALL = 256  # tokens of the call that loads what is loaded once


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Do what a request asks for: ``time``, ``memory`` or ``accuracy``."""
    setting = from_json(request["setting"])
    if request["task"] == "accuracy":
        return _accuracy(setting)
    if request["task"] == "memory":
        return _memory(setting, request["contender"])
    return _time(setting, request["contenders"], request["repeats"])


def prepare(task: Task, name: str) -> Call:
    """Return the call of a contender that ends when its result has been computed."""
    setting = task.setting
    ours = name == AFA
    entry = CASES[setting.case] if ours else rivals.available(task.backend, setting)[name]
    call = entry.prepare(task)
    return lambda: task.instruments.wait(call())


def _task(setting: Setting) -> Task:
    backend = load(setting.library)
    inputs = send(CASES[setting.case].inputs(setting), setting, backend)
    return Task(setting, inputs, backend, rivals.instruments(setting.library))


def _time(setting: Setting, contenders: list[str], repeats: int) -> dict[str, Any]:
    task, calls = _task(setting), {}
    result: dict[str, dict[str, Any]] = {name: {} for name in contenders}
    for name in contenders:
        try:
            call = prepare(task, name)
            call()
        except Exception as error:
            result[name]["reason"] = _reason(error)
        else:
            calls[name] = call
    for name, seconds in timing.alternate(calls, repeats).items():
        result[name]["seconds"] = seconds
    runs = AFA in calls and setting.case == "attention"
    return {"contenders": result, "chosen": chosen(task) if runs else ""}


def _memory(setting: Setting, name: str) -> dict[str, Any]:
    try:
        small = setting._replace(tokens=min(SMALL, setting.tokens))
        prepare(_task(small), name)()
        task = _task(setting)
        call = prepare(task, name)
        on_device = task.instruments.device_memory(call, setting.device)
        if on_device is not None:
            return {"bytes": on_device, "method": "device"}
        return dict(zip(("bytes", "method"), memory.peak(call), strict=True))
    except Exception as error:
        return {"reason": _reason(error)}


def _accuracy(setting: Setting) -> dict[str, Any]:
    drawn = CASES[setting.case].inputs(setting)
    backend, instruments = load(setting.library), rivals.instruments(setting.library)
    try:
        return {"errors": accuracy.errors(setting, drawn, backend, instruments)}
    except Exception as error:
        return {"reason": _reason(error)}


def _reason(error: Exception) -> str:
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {said[0][:200]}" if said else type(error).__name__


def main() -> int:
    """Answer the request on standard input."""
    request = json.loads(sys.stdin.readline())
    setting = from_json(request["setting"])
    if (setting.device or load(setting.library).devices[0]).startswith("cpu"):
        memory.bound()
    print(json.dumps(answer(request)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
