"""Accuracy: an implementation against the reference in double precision on the same inputs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from afa_bench.candidates import Profiling, Task
from afa_bench.cases import CASES, attend, options
from afa_bench.inputs import Inputs, transfer
from afa_bench.setting import Setting
from afa_core.attention import attention
from afa_core.backend import Backend
from afa_core.model.sde import parameters_of

ROWS = 64  # queries per call of the reference
LONG = 8192  # tokens beyond which only some rows are compared
SAMPLES = 16  # number of blocks of `ROWS` rows that are compared then

Rows = tuple[slice, Any]
"""Rows of an array, and their contents."""


def errors(
    setting: Setting, inputs: Inputs, backend: Backend, profiling: Profiling
) -> dict[str, float | None]:
    """Return the maximum error of each result, relative to the maximum of the exact result.

    Parameters
    ----------
    setting : Setting
        The case and implementation under test: attention or an approximation of it.
    inputs : Inputs
        NumPy arrays in the setting's dtype, which are the inputs of the reference too.
    backend, profiling : Backend and Profiling
        Those of the setting's library.

    Returns
    -------
    dict
        ``"output"`` and, with `setting.backward`, the gradient of each array by its name. Of a
        sequence longer than `LONG` only some rows of the output and of the gradient of the query
        are compared. None for a result that is not finite.
    """
    task = Task(setting, transfer(inputs, setting, backend), backend, profiling)
    exact = task._replace(inputs=transfer(inputs, setting, backend, "float64"))
    found = CASES[setting.case].prepare(task)()
    if setting.backward and setting.tokens <= LONG:
        expected = attend(exact, implementation="reference")()
        labels = ["query", "key", "value", *parameters_of(inputs.sde)]
        pairs = zip(labels, found[1], expected[1], strict=True)
        gradients = {label: _error(backend, a, b) for label, a, b in pairs}
        return {"output": _error(backend, found[0], expected[0])} | gradients
    blocks = _blocks(setting.tokens)
    output = found[0] if setting.backward else found
    compared = {"output": _select(backend, output, [_output(exact, rows) for rows in blocks])}
    if setting.backward:
        expected = [_query_gradient(exact, rows) for rows in blocks]
        compared["query"] = _select(backend, found[1][0], expected)
    return {name: _error(backend, *each) for name, each in compared.items()}


def _blocks(tokens: int) -> list[slice]:
    """Return blocks of rows: all of them, or of a long sequence some, the last one included."""
    blocks = [slice(start, min(start + ROWS, tokens)) for start in range(0, tokens, ROWS)]
    step = max(len(blocks) // SAMPLES, 1) if tokens > LONG else 1
    return blocks[::-step][::-1]


def _output(task: Task, rows: slice) -> Rows:
    """Return the reference's output in some rows, from the keys up to the last of them."""
    part = _part(task.inputs, rows)
    given = options(part, task.setting)
    return rows, attention(*part[:3], part.sde, **given, implementation="reference")


def _query_gradient(task: Task, rows: slice) -> Rows:
    """Return the reference's gradient of some queries, on which no other row depends."""
    part = task._replace(inputs=_part(task.inputs, rows))
    return rows, attend(part, implementation="reference")()[1][0]


def _part(inputs: Inputs, rows: slice) -> Inputs:
    """Return some queries, and the keys up to the last of them."""
    keys = slice(rows.stop)
    query, cotangent = (x[..., rows, :] for x in (inputs.query, inputs.cotangent))
    key, value = (x[..., keys, :] for x in (inputs.key, inputs.value))
    parts = zip(inputs.times.values(), (rows, keys), strict=True)
    times = (x if x is None else x[..., each] for x, each in parts)
    return Inputs(query, key, value, cotangent, inputs.sde, inputs.weighting, *times)


def _select(backend: Backend, found: Any, expected: list[Rows]) -> tuple[Any, Any]:
    """Return the found and expected values of the same rows, as NumPy arrays."""
    numbers = backend.to_numpy(found)
    selected = [numbers[..., rows, :] for rows, _ in expected]
    exact = [backend.to_numpy(x) for _, x in expected]
    return np.concatenate(selected, axis=-2), np.concatenate(exact, axis=-2)


def _error(backend: Backend, found: Any, expected: Any) -> float | None:
    a, b = (
        (x if isinstance(x, np.ndarray) else backend.to_numpy(x)).astype("float64")
        for x in (found, expected)
    )
    scale = float(np.max(np.abs(b))) or 1.0
    error = float(np.max(np.abs(a - b))) / scale
    return error if math.isfinite(error) else None
