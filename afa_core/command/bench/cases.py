"""The operations of this library that are measured."""

from __future__ import annotations

from functools import partial
from typing import Any

from afa_core.attention import attention, explain
from afa_core.command.bench.contender import Call, Case, Task, never
from afa_core.command.bench.inputs import draw, rebuild
from afa_core.command.bench.setting import Setting
from afa_core.sde import parameters_of

AFA = "afa"
"""The name of this library's own part in a measurement."""


def attend(task: Task, *, implementation: str = "") -> Call:
    """Prepare attention by an implementation; that of the setting unless another is named."""
    inputs = task.inputs
    chosen = implementation or task.setting.implementation

    def run(query: Any, key: Any, value: Any, *parameters: Any) -> Any:
        sde = rebuild(inputs.sde, iter(parameters))
        return attention(query, key, value, sde, weighting=inputs.weighting, implementation=chosen)

    return task.call(run, (*inputs[:3], *parameters_of(inputs.sde).values()))


def chosen(task: Task) -> str:
    """Return the name of the implementation that runs."""
    inputs, name = task.inputs, task.setting.implementation
    weighting = inputs.weighting
    return explain(*inputs[:3], inputs.sde, weighting=weighting, implementation=name).chosen


def _absent(task: Task) -> Call:
    msg = f"the case {task.setting.case!r} is refused and cannot be prepared."
    raise NotImplementedError(msg)


def _missing(name: str) -> Any:
    reason = f"this version of afa_core has no {name}"

    def refusal(_: Setting) -> str:
        return reason

    return refusal


CASES = {
    case.name: case
    for case in (
        Case("attention", never, draw, attend),
        Case("decode", _missing("decode_step"), partial(draw, queries=1), _absent),
        Case("window", _missing("window for far keys"), draw, _absent),
    )
}
"""What can be measured; cases that are refused hold the place of what is to come."""
