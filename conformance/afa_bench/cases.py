"""The operations of this library that are measured."""

from __future__ import annotations

from math import ceil
from typing import Any

from afa_bench.candidates import Call, Case, Task, never
from afa_bench.inputs import Inputs, draw, rebuild
from afa_bench.setting import Setting
from afa_core.attention import attention, explain
from afa_core.decoding.cache import DecodeCache
from afa_core.decoding.step import decode_step
from afa_core.model.sde import parameters_of
from afa_core.windowed.window import windowed_attention

AFA = "afa"
"""The name of this library's own part in a measurement."""

TIMES = 9
"""Times 1/μ, of the slowest head, that a window spans."""

STEPS = 64
"""Steps of decoding, one after the other, before the prompt is taken again."""


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
    """Prepare steps of decoding, each from the cache that the one before returned.

    After `STEPS` of them the next continues the first cache again, and has to copy it.
    """
    inputs = task.inputs
    key, value = (x[..., -1:, :] for x in inputs[1:3])
    keys, values = (x[..., :-1, :] for x in inputs[1:3])
    first = DecodeCache.of(keys, values, inputs.sde, capacity=keys.shape[-2] + STEPS)

    def run(query: Any, key: Any, value: Any, cache: Any, *parameters: Any) -> Any:
        sde = rebuild(inputs.sde, iter(parameters))
        return decode_step(query, key, value, sde, cache, weighting=inputs.weighting)

    tokens, parameters = (inputs.query, key, value), parameters_of(inputs.sde).values()
    compiled = task.instruments.compile(run, (*tokens, first, *parameters))
    cache, left = first, STEPS

    def call() -> Any:
        nonlocal cache, left
        if not left:
            cache, left = first, STEPS
        output, cache = compiled(*tokens, cache, *parameters)
        left -= 1
        return output

    return call


def _forward_only(setting: Setting) -> str:
    return "a step of decoding is timed forward only" if setting.backward else ""


def _draw_step(setting: Setting) -> Inputs:
    """Draw the tokens that are cached and one more, which alone asks."""
    return draw(setting._replace(tokens=setting.tokens + 1), queries=1)


def look_back(task: Task) -> Call:
    """Prepare attention with a window."""
    inputs, window = task.inputs, ceil(TIMES / task.setting.decay[0])

    def run(query: Any, key: Any, value: Any, *parameters: Any) -> Any:
        sde = rebuild(inputs.sde, iter(parameters))
        weighting = inputs.weighting
        return windowed_attention(query, key, value, sde, window=window, weighting=weighting)

    return task.call(run, (*inputs[:3], *parameters_of(inputs.sde).values()))


def _isotropic_only(setting: Setting) -> str:
    return "" if setting.form == "isotropic" else "only the isotropic form has a window"


CASES = {
    case.name: case
    for case in (
        Case("attention", never, draw, attend),
        Case("decode", _forward_only, _draw_step, step),
        Case("window", _isotropic_only, draw, look_back),
    )
}
"""What can be measured."""
