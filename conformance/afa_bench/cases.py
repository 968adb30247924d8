"""The operations of this library that are measured."""

from __future__ import annotations

from math import ceil
from typing import Any

from afa_bench.candidates import Call, Case, Task, always_supported
from afa_bench.inputs import Inputs, draw, with_parameters
from afa_bench.setting import Setting
from afa_core.attention import attention, explain
from afa_core.decoding.cache import DecodeCache
from afa_core.decoding.step import decode_step
from afa_core.model.sde import parameters_of
from afa_core.windowed.window import windowed_attention

AFA = "afa"
"""Name of this library as a candidate."""

WINDOW_TIME_CONSTANTS = 9
"""Length of a window in time constants 1/μ of the slowest head."""

STEPS = 64
"""Consecutive decoding steps before the cache is reset to the prompt."""


def attend(task: Task, *, implementation: str = "") -> Call:
    """Prepare attention by an implementation; default: that of the setting."""
    inputs = task.inputs
    chosen = implementation or task.setting.implementation

    def run(query: Any, key: Any, value: Any, *parameters: Any) -> Any:
        sde = with_parameters(inputs.sde, iter(parameters))
        return attention(query, key, value, sde, weighting=inputs.weighting, implementation=chosen)

    return task.call(run, (*inputs[:3], *parameters_of(inputs.sde).values()))


def chosen(task: Task) -> str:
    """Return the name of the implementation that runs."""
    inputs, name = task.inputs, task.setting.implementation
    weighting = inputs.weighting
    return explain(*inputs[:3], inputs.sde, weighting=weighting, implementation=name).chosen


def decode(task: Task) -> Call:
    """Prepare consecutive decoding steps, each with the cache that the previous one returned.

    Every `STEPS` calls the first cache is used again, which has to be copied in that call.
    """
    inputs = task.inputs
    key, value = (x[..., -1:, :] for x in inputs[1:3])
    keys, values = (x[..., :-1, :] for x in inputs[1:3])
    first = DecodeCache.of(keys, values, inputs.sde, capacity=keys.shape[-2] + STEPS)

    def run(query: Any, key: Any, value: Any, cache: Any, *parameters: Any) -> Any:
        sde = with_parameters(inputs.sde, iter(parameters))
        return decode_step(query, key, value, sde, cache, weighting=inputs.weighting)

    tokens, parameters = (inputs.query, key, value), parameters_of(inputs.sde).values()
    compiled = task.profiling.compile(run, (*tokens, first, *parameters))
    cache, remaining = first, STEPS

    def call() -> Any:
        nonlocal cache, remaining
        if not remaining:
            cache, remaining = first, STEPS
        output, cache = compiled(*tokens, cache, *parameters)
        remaining -= 1
        return output

    return call


def _forward_only(setting: Setting) -> str:
    return "a step of decoding is timed forward only" if setting.backward else ""


def _draw_decode(setting: Setting) -> Inputs:
    """Draw the cached tokens and one more, which is the only query."""
    return draw(setting._replace(tokens=setting.tokens + 1), queries=1)


def window(task: Task) -> Call:
    """Prepare windowed attention."""
    inputs, length = task.inputs, ceil(WINDOW_TIME_CONSTANTS / task.setting.decay[0])

    def run(query: Any, key: Any, value: Any, *parameters: Any) -> Any:
        sde = with_parameters(inputs.sde, iter(parameters))
        weighting = inputs.weighting
        return windowed_attention(query, key, value, sde, window=length, weighting=weighting)

    return task.call(run, (*inputs[:3], *parameters_of(inputs.sde).values()))


def _isotropic_only(setting: Setting) -> str:
    return "" if setting.form == "isotropic" else "only the isotropic form has a window"


CASES = {
    case.name: case
    for case in (
        Case("attention", always_supported, draw, attend),
        Case("decode", _forward_only, _draw_decode, decode),
        Case("window", _isotropic_only, draw, window),
    )
}
"""All cases by name."""
