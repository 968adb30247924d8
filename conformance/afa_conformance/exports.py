"""Functions exported from Python: written in a library's exchange format, read again and run."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from functools import wraps
from importlib import import_module
from io import BytesIO
from typing import Any

from afa_conformance.trees import leaves_of, with_leaves_of
from afa_core.backend import Backend

Function = Callable[..., Sequence[Any]]
"""A function of arrays that returns arrays."""


def exporting(backend: Backend) -> Backend:
    """Return the backend with a compiler that exports functions, for each shape of their arrays.

    Raises
    ------
    ValueError
        If its library exports nothing.
    """
    if backend.name not in EXPORTERS:
        listed = ", ".join(EXPORTERS)
        msg = f"functions of {backend.name} cannot be exported: choose one of {listed}"
        raise ValueError(msg)
    export = EXPORTERS[backend.name]

    def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
        programs: dict[Hashable, Callable[..., Any]] = {}

        @wraps(function)
        def call(*arrays: Any) -> Any:
            kinds = tuple((tuple(x.shape), x.dtype) for x in arrays)
            if kinds not in programs:
                programs[kinds] = _program(function, arrays, export)
            return programs[kinds](*arrays)

        return call

    return replace(backend, compile=compiled)


def _program(
    function: Callable[..., Any], arrays: Sequence[Any], export: Callable[..., Function]
) -> Callable[..., Any]:
    """Return a function of arrays of these shapes, exported."""
    trees = []

    def leaves(*traced: Any) -> tuple[Any, ...]:
        trees.append(function(*traced))
        return tuple(leaves_of(trees[-1]))

    exported = export(leaves, arrays)
    return lambda *given: with_leaves_of(trees[-1], exported(*given))


def _to_pytorch(function: Function, arrays: Sequence[Any]) -> Function:
    """Export to PyTorch's own format, which its C++ runtime reads."""
    torch = import_module("torch")

    class Module(torch.nn.Module):  # type: ignore[name-defined, misc]
        def forward(self, *given: Any) -> Any:
            return function(*given)

    file = BytesIO()
    torch.export.save(torch.export.export(Module(), tuple(arrays)), file)
    file.seek(0)
    loaded: Function = torch.export.load(file).module()
    return loaded


def _to_stablehlo(function: Function, arrays: Sequence[Any]) -> Function:
    """Export to StableHLO, the format of XLA's programs."""
    jax, export = import_module("jax"), import_module("jax.export")
    written = export.export(jax.jit(function))(*arrays).serialize()
    loaded: Function = jax.jit(export.deserialize(written).call)
    return loaded


def _to_onnx(function: Function, arrays: Sequence[Any]) -> Function:
    """Export to ONNX, and run the model in ONNX Runtime."""
    ndonnx, onnxruntime = import_module("ndonnx"), import_module("onnxruntime")
    inputs = {
        f"input_{place}": ndonnx.argument(shape=x.shape, dtype=x.dtype)
        for place, x in enumerate(arrays)
    }
    outputs = {f"output_{place}": x for place, x in enumerate(function(*inputs.values()))}
    written = ndonnx.build(inputs, outputs).SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(written, options)

    def run(*given: Any) -> list[Any]:
        values = (x.unwrap_numpy() for x in given)
        found = session.run(list(outputs), dict(zip(inputs, values, strict=True)))
        return [ndonnx.asarray(x) for x in found]

    return run


EXPORTERS: dict[str, Callable[[Function, Sequence[Any]], Function]] = {
    "torch": _to_pytorch,
    "jax": _to_stablehlo,
    "ndonnx": _to_onnx,
}
"""How a library's functions are exported."""
