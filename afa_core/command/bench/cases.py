"""The operations of this library that are measured."""

from __future__ import annotations

from typing import Any

import afa_core
from afa_core.attention import attention, explain
from afa_core.command.bench.contender import Call, Case, Task, never
from afa_core.command.bench.inputs import Inputs, draw, rebuild
from afa_core.command.bench.setting import Setting
from afa_core.sde import parameters_of

AFA = "afa"
"""The name of this library's own part in a measurement."""

core: Any = afa_core  # untyped for versions that cannot decode
DECODES = hasattr(core, "decode_step")
"""Whether this version of afa_core can decode."""


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


def step(task: Task) -> Call:
    """Prepare a step of decoding: the last token attends, every time from the same cache."""
    inputs = task.inputs

    def run(query: Any, key: Any, value: Any, cache: Any, *parameters: Any) -> Any:
        sde = rebuild(inputs.sde, iter(parameters))
        return core.decode_step(query, key, value, sde, cache, weighting=inputs.weighting)

    key, value = (x[..., -1:, :] for x in inputs[1:3])
    constants = (_prefilled(inputs), *parameters_of(inputs.sde).values())
    return task.call(run, (inputs.query, key, value), constants)


def _prefilled(inputs: Inputs) -> Any:
    """Return the cache of all tokens but the last, with room for that one."""
    key, value = (x[..., :-1, :] for x in inputs[1:3])
    return core.DecodeCache.of(key, value, inputs.sde, capacity=inputs.key.shape[-2])


def _draw_step(setting: Setting) -> Inputs:
    """Draw the tokens that are cached and one more, which alone asks."""
    return draw(setting._replace(tokens=setting.tokens + 1), queries=1)


def _missing(name: str) -> Any:
    reason = f"this version of afa_core has no {name}"

    def refusal(_: Setting) -> str:
        return reason

    return refusal


CASES = {
    case.name: case
    for case in (
        Case("attention", never, draw, attend),
        Case("decode", never if DECODES else _missing("decode_step"), _draw_step, step),
        Case("window", _missing("window for far keys"), draw, None),
    )
}
"""What can be measured; cases that are refused hold the place of what is to come."""
