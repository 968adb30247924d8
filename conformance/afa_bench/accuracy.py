"""Accuracy: an implementation against the reference in double precision, on the same numbers."""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

from afa_bench.candidates import Instruments, Task
from afa_bench.cases import CASES, attend
from afa_bench.inputs import Inputs, send
from afa_bench.setting import Setting
from afa_core.attention import attention
from afa_core.backend import Backend
from afa_core.model.sde import parameters_of

ROWS = 64  # queries that the reference attends for at once
LONG = 8192  # tokens beyond which some rows stand for all
SAMPLES = 16  # times `ROWS` that do


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
        ``"output"``, and with `setting.backward` the gradient of every array by its name; of a
        long sequence in some rows, and of gradients that in the query. None for a result that
        is not finite.
    """
    task = Task(setting, send(drawn, setting, backend), backend, instruments)
    exact = task._replace(inputs=send(drawn, setting, backend, "float64"))
    found = CASES[setting.case].prepare(task)()
    if setting.backward and setting.tokens <= LONG:
        expected = attend(exact, implementation="reference")()
        labels = ["query", "key", "value", *parameters_of(drawn.sde)]
        pairs = zip(labels, found[1], expected[1], strict=True)
        gradients = {label: _difference(backend, a, b) for label, a, b in pairs}
        return {"output": _difference(backend, found[0], expected[0])} | gradients
    pieces = _pieces(setting.tokens)
    output = found[0] if setting.backward else found
    compared = {"output": _by_rows(backend, output, [_attended(exact, each) for each in pieces])}
    if setting.backward:
        own = [_gradient(exact, each) for each in pieces]
        compared["query"] = _by_rows(backend, found[1][0], own)
    return {name: _difference(backend, *each) for name, each in compared.items()}


Piece = tuple[slice, Any]
"""Rows, and what stands in them."""


def _pieces(tokens: int) -> list[slice]:
    """Cut the rows into pieces; return some of them, the last too, of a long sequence."""
    pieces = [slice(start, min(start + ROWS, tokens)) for start in range(0, tokens, ROWS)]
    step = max(len(pieces) // SAMPLES, 1) if tokens > LONG else 1
    return pieces[::-step][::-1]


def _attended(task: Task, rows: slice) -> Piece:
    """Return the reference's output in some rows: the last n of the first m tokens."""
    inputs = task.inputs
    query, key, value = (x[..., : rows.stop, :] for x in inputs[:3])
    anchor = value[..., rows, :] if task.setting.form == "radial-tangential" else None
    found = attention(
        query[..., rows, :],
        key,
        value,
        inputs.sde,
        weighting=inputs.weighting,
        anchor=anchor,
        implementation="reference",
    )
    return rows, found


def _gradient(task: Task, rows: slice) -> Piece:
    """Return the reference's gradient in the queries of some rows, which is theirs alone."""
    inputs = task.inputs
    query, upstream = (x[..., rows, :] for x in (inputs.query, inputs.upstream))
    key, value = (x[..., : rows.stop, :] for x in (inputs.key, inputs.value))
    own = inputs._replace(query=query, key=key, value=value, upstream=upstream)
    return rows, attend(task._replace(inputs=own), implementation="reference")()[1][0]


def _by_rows(backend: Backend, found: Any, expected: list[Piece]) -> tuple[Any, Any]:
    """Return what was found and what is expected in the same rows, as NumPy arrays."""
    np = import_module("numpy")
    numbers = backend.to_numpy(found)
    own = [numbers[..., rows, :] for rows, _ in expected]
    exact = [backend.to_numpy(x) for _, x in expected]
    return np.concatenate(own, axis=-2), np.concatenate(exact, axis=-2)


def _difference(backend: Backend, found: Any, expected: Any) -> float | None:
    np = import_module("numpy")
    a, b = (
        (x if isinstance(x, np.ndarray) else backend.to_numpy(x)).astype("float64")
        for x in (found, expected)
    )
    scale = float(np.max(np.abs(b))) or 1.0
    error = float(np.max(np.abs(a - b))) / scale
    return error if math.isfinite(error) else None
