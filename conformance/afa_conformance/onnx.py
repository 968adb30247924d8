"""The compiler of ndonnx: functions are traced to ONNX models, which ONNX Runtime runs."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace
from functools import wraps
from importlib import import_module
from typing import Any

from afa_conformance.trees import leaves_of, with_leaves_of
from afa_core.backend import Backend


def with_compiler(backend: Backend) -> Backend:
    """Return the backend, with a compiler if it is ndonnx's."""
    return replace(backend, compile=compiled) if backend.name == "ndonnx" else backend


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of ndonnx arrays that is traced once for all arrays of the same shapes."""
    programs: dict[Hashable, Callable[..., Any]] = {}

    @wraps(function)
    def call(*arrays: Any) -> Any:
        kinds = tuple((x.shape, x.dtype) for x in arrays)
        if kinds not in programs:
            programs[kinds] = _program(function, arrays)
        return programs[kinds](*arrays)

    return call


def _program(function: Callable[..., Any], arrays: tuple[Any, ...]) -> Callable[..., Any]:
    """Return the model of a function of arrays of these shapes, as a function of such arrays."""
    ndonnx, onnxruntime = import_module("ndonnx"), import_module("onnxruntime")
    inputs = {
        f"input_{place}": ndonnx.argument(shape=x.shape, dtype=x.dtype)
        for place, x in enumerate(arrays)
    }
    tree = function(*inputs.values())
    outputs = {f"output_{place}": x for place, x in enumerate(leaves_of(tree))}
    model = ndonnx.build(inputs, outputs)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)

    def run(*arrays: Any) -> Any:
        values = (x.unwrap_numpy() for x in arrays)
        found = session.run(list(outputs), dict(zip(inputs, values, strict=True)))
        return with_leaves_of(tree, (ndonnx.asarray(x) for x in found))

    return run
