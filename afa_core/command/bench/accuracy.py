"""Accuracy: an implementation against the reference in double precision, on the same numbers."""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

from afa_core.attention import attention
from afa_core.backend import Backend
from afa_core.command.bench.cases import CASES, attend
from afa_core.command.bench.contender import Instruments, Task
from afa_core.command.bench.inputs import Inputs, send
from afa_core.command.bench.setting import Setting
from afa_core.sde import parameters_of

ROWS = 64  # queries that the reference attends for at once


def errors(
    setting: Setting, drawn: Inputs, backend: Backend, instruments: Instruments
) -> dict[str, float | None]:
    """Return the greatest difference of each result, relative to its greatest value.

    Parameters
    ----------
    setting : Setting
        Of the case and the implementation that are judged: attention, or an approximation of it.
    drawn : Inputs
        NumPy arrays in the setting's dtype; the reference gets the same numbers.
    backend, instruments : Backend and Instruments
        Of the setting's library.

    Returns
    -------
    dict
        ``"output"``, and with `setting.backward` the gradient of every array by its name;
        None for a result that is not finite.
    """
    task = Task(setting, send(drawn, setting, backend), backend, instruments)
    exact = task._replace(inputs=send(drawn, setting, backend, "float64"))
    found = CASES[setting.case].prepare(task)()
    if not setting.backward:
        return {"output": _difference(backend, found, _by_rows(exact))}
    expected = attend(exact, implementation="reference")()
    labels = ["query", "key", "value", *parameters_of(drawn.sde)]
    pairs = zip(labels, found[1], expected[1], strict=True)
    gradients = {label: _difference(backend, a, b) for label, a, b in pairs}
    return {"output": _difference(backend, found[0], expected[0])} | gradients


def _by_rows(task: Task) -> Any:
    """Return the reference's output, some queries at a time: the last n of the first m tokens."""
    np, inputs = import_module("numpy"), task.inputs
    parts = []
    for start in range(0, task.setting.tokens, ROWS):
        stop = min(start + ROWS, task.setting.tokens)
        query, key, value = (x[..., :stop, :] for x in inputs[:3])
        anchor = value[..., start:, :] if task.setting.form == "radial-tangential" else None
        rows = attention(
            query[..., start:, :],
            key,
            value,
            inputs.sde,
            weighting=inputs.weighting,
            anchor=anchor,
            implementation="reference",
        )
        parts.append(task.backend.to_numpy(rows))
    return np.concatenate(parts, axis=-2)


def _difference(backend: Backend, found: Any, expected: Any) -> float | None:
    np = import_module("numpy")
    a, b = (
        (x if isinstance(x, np.ndarray) else backend.to_numpy(x)).astype("float64")
        for x in (found, expected)
    )
    scale = float(np.max(np.abs(b))) or 1.0
    error = float(np.max(np.abs(a - b))) / scale
    return error if math.isfinite(error) else None
