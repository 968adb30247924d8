"""The operations of this library that are measured."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import ceil
from typing import Any

from afa_bench.candidates import Call, Case, Task, always_supported, usual_keys
from afa_bench.inputs import Inputs, draw, with_parameters
from afa_bench.layers import drawn_layer, layer_tokens
from afa_bench.setting import LAYER_STEP, ONNX_LAYER, Setting
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


def attend(
    task: Task,
    *,
    implementation: str = "",
    wrap: Callable[[Callable[..., Any]], Callable[..., Any]] = lambda run: run,
) -> Call:
    """Prepare attention by an implementation; default: that of the setting.

    ``wrap(run)`` returns the function that is called in its place, such as a compiled one.
    """
    inputs, setting = task.inputs, task.setting
    chosen = implementation or setting.implementation
    times = {name: x for name, x in inputs.times.items() if x is not None}

    def run(query: Any, key: Any, value: Any, *others: Any) -> Any:
        rest = iter(others)
        sde = with_parameters(inputs.sde, rest)
        given = inputs._replace(query=query, key=key, value=value, sde=sde)
        given = given._replace(**dict(zip(times, rest, strict=True)))
        return attention(*given[:3], sde, **options(given, setting), implementation=chosen)

    arrays = (*inputs[:3], *parameters_of(inputs.sde).values())
    return task.call(wrap(run), arrays, tuple(times.values()))


def options(inputs: Inputs, setting: Setting) -> dict[str, Any]:
    """Return the arguments of attention beside tokens, model and implementation.

    If there are fewer queries than keys, each query's anchor is the value of its own token.
    """
    queries, keys = inputs.query.shape[-2], inputs.key.shape[-2]
    anchored = setting.form == "radial-tangential" and queries < keys
    return {
        "weighting": inputs.weighting,
        "correlated": setting.correlated,
        "anchor": inputs.value[..., keys - queries :, :] if anchored else None,
        **inputs.times,
    }


def chosen(task: Task) -> str:
    """Return the name of the implementation that runs."""
    inputs, setting = task.inputs, task.setting
    given = options(inputs, setting)
    name = setting.implementation
    return explain(*inputs[:3], inputs.sde, **given, implementation=name).chosen


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


def _decoding_only(setting: Setting) -> str:
    reason = "a step of decoding is timed forward only" if setting.backward else ""
    return reason or usual_keys(setting)


def _draw_decode(setting: Setting) -> Inputs:
    """Draw the cached tokens and one more, which is the only query."""
    return draw(setting._replace(tokens=setting.tokens + 1), queries=1)


def _draw_layer(setting: Setting) -> Inputs:
    """Draw the tokens of a layer, those in the cache and one more."""
    return draw(setting._replace(tokens=setting.tokens + 1))


def window(task: Task) -> Call:
    """Prepare windowed attention."""
    inputs, length = task.inputs, ceil(WINDOW_TIME_CONSTANTS / task.setting.decay[0])

    def run(query: Any, key: Any, value: Any, *parameters: Any) -> Any:
        sde = with_parameters(inputs.sde, iter(parameters))
        weighting = inputs.weighting
        return windowed_attention(query, key, value, sde, window=length, weighting=weighting)

    return task.call(run, (*inputs[:3], *parameters_of(inputs.sde).values()))


def _isotropic_only(setting: Setting) -> str:
    reason = "" if setting.form == "isotropic" else "only the isotropic form has a window"
    return reason or usual_keys(setting)


def _training_only(setting: Setting) -> str:
    if setting.library != "torch" or not setting.backward:
        return "a layer is measured in PyTorch, forward and backward"
    return usual_keys(setting)


def layer(task: Task, *, compiled: bool) -> Call:
    """Prepare the forward and backward pass of a layer of as many channels as all heads have."""
    # Imported here: PyTorch may not be installed.
    from afa_bench.libraries.torch_layers import filter_attention

    return filter_attention(task, compiled=compiled)


def layer_step(task: Task) -> Call:
    """Prepare consecutive tokens of a layer, of as many channels as all heads have.

    Every `STEPS` calls the first cache is used again, as in `decode`.
    """
    value, tokens = drawn_layer(task.setting), layer_tokens(task)
    empty = value.empty_cache(tokens, capacity=task.setting.tokens + STEPS)
    _, first = value.step(tokens[:, :-1], empty)
    cache, remaining = first, STEPS

    def call() -> Any:
        nonlocal cache, remaining
        if not remaining:
            cache, remaining = first, STEPS
        attended, cache = value.step(tokens[:, -1:], cache)
        remaining -= 1
        return attended.output

    return call


def onnx_layer(task: Task) -> Call:
    """Prepare a layer as an ONNX model, of as many channels as all heads have."""
    # Imported here: ndonnx and ONNX Runtime may not be installed.
    from afa_bench.libraries.onnx_layers import filter_attention

    return filter_attention(task)


def _onnx_only(setting: Setting) -> str:
    reason = "is measured with independent keys only" if setting.correlated else ""
    return _numpy_layer_only(setting) or reason


def _step_only(setting: Setting) -> str:
    return _numpy_layer_only(setting) or _decoding_only(setting)


def _numpy_layer_only(setting: Setting) -> str:
    if setting.library != "numpy":
        return "is measured with layers of NumPy only"
    usual = setting.form == "isotropic" and setting.weighting == "student"
    return "" if usual else "is measured in the isotropic form with Student-t weights only"


CASES = {
    case.name: case
    for case in (
        Case("attention", always_supported, draw, attend),
        Case("decode", _decoding_only, _draw_decode, decode),
        Case("window", _isotropic_only, draw, window),
        Case("layer", _training_only, draw, partial(layer, compiled=False)),
        Case(LAYER_STEP, _step_only, _draw_layer, layer_step),
        Case(ONNX_LAYER, _onnx_only, draw, onnx_layer),
        Case("compiled layer", _training_only, draw, partial(layer, compiled=True)),
    )
}
"""All cases by name."""
