"""From a problem in NumPy to the library under test, and its answers back to NumPy."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import afa_core
from afa_conformance.problems import Problem, leaves, with_leaves
from afa_core import RadialTangential
from afa_core.backend import Backend

TOKENS = ("query", "key", "value", "anchor")


def encode(problem: Problem, dtype: str = "float64") -> Problem:
    """Write modes in the problem's layout and cast everything but times and masks to `dtype`."""
    narrow = np.dtype(dtype)
    changes: dict[str, Any] = {}
    for name, x in leaves(problem).items():
        if name in TOKENS:
            changes[name] = write_modes(x, problem.layout, narrow)
        elif isinstance(x, np.ndarray | np.generic):
            keep = name == "mask" or name.endswith("_times")
            changes[name] = np.array(x) if keep else np.asarray(x).astype(narrow)
    return with_leaves(problem, changes)


def rounded(problem: Problem, dtype: str) -> Problem:
    """Return the problem whose numbers are exact in a narrower dtype, still in double."""
    narrow = np.dtype(dtype)
    changes: dict[str, Any] = {}
    for name, x in leaves(problem).items():
        if name in TOKENS:
            real, imag = (part.astype(narrow).astype(np.float64) for part in (x.real, x.imag))
            changes[name] = real + 1j * imag
        elif name != "mask" and not name.endswith("_times"):
            number = np.asarray(x).astype(narrow).astype(np.float64)
            changes[name] = float(number) if isinstance(x, float) else number
    return with_leaves(problem, changes)


def send(problem: Problem, backend: Backend, dtype: str = "float64") -> Problem:
    """Return the encoded problem in arrays of the backend."""
    encoded = encode(problem, dtype)
    arrays = {
        name: backend.from_numpy(x)
        for name, x in leaves(encoded).items()
        if isinstance(x, np.ndarray)
    }
    return with_leaves(encoded, arrays)


def arguments(sent: Problem) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return positional and keyword arguments of `afa_core.attention`."""
    kept = {each.name: getattr(sent, each.name) for each in fields(sent)}
    del kept["description"]
    positional = tuple(kept.pop(name) for name in ("query", "key", "value", "sde"))
    if sent.layout == "complex":
        del kept["layout"]
    return positional, kept


def attention(problem: Problem, backend: Backend, dtype: str = "float64") -> NDArray[Any]:
    """Attend on the backend; complex modes in NumPy."""
    positional, options = arguments(send(problem, backend, dtype))
    mean = afa_core.attention(*positional, **options)
    return read_modes(backend.to_numpy(mean), problem.layout)


def estimate(
    problem: Problem, backend: Backend, dtype: str = "float64"
) -> tuple[NDArray[Any], Any]:
    """Estimate on the backend: complex modes and precision in NumPy."""
    positional, options = arguments(send(problem, backend, dtype))
    mean, precision = afa_core.estimate(*positional, **options)
    return read_modes(backend.to_numpy(mean), problem.layout), fetch(precision, backend)


def attention_weights(problem: Problem, backend: Backend, dtype: str = "float64") -> Any:
    """Return the weights A that the backend computes, in NumPy."""
    positional, options = arguments(send(problem, backend, dtype))
    return fetch(afa_core.attention_weights(*positional, **options), backend)


def fetch(result: Any, backend: Backend) -> Any:
    """Return an array, or two of them (radial, tangential), in NumPy."""
    if isinstance(result, RadialTangential):
        return RadialTangential(*(backend.to_numpy(x) for x in result))
    return backend.to_numpy(result)


def parts(result: Any) -> tuple[NDArray[Any], ...]:
    """Return the arrays of a precision or of weights: two for the radial–tangential form."""
    return tuple(result) if isinstance(result, RadialTangential) else (result,)


def key_axis(problem: Problem) -> int:
    """Return the axis of the keys in the weights of this form."""
    return -2 if isinstance(problem.sde, afa_core.DiagonalSDE) else -1


def write_modes(modes: Any, layout: str, dtype: Any = np.float64) -> NDArray[Any]:
    """Return complex modes as an array of a layout (spec §8.1)."""
    if layout == "complex":
        return np.asarray(modes).astype(np.result_type(dtype, np.complex64))
    if layout == "halves":
        return np.concatenate([modes.real, modes.imag], axis=-1).astype(dtype)
    pairs = np.stack([modes.real, modes.imag], axis=-1)
    return pairs.reshape((*modes.shape[:-1], 2 * modes.shape[-1])).astype(dtype)


def read_modes(array: NDArray[Any], layout: str) -> NDArray[Any]:
    """Return the complex modes in an array of a layout."""
    if layout == "complex":
        return array
    d = array.shape[-1] // 2
    if layout == "halves":
        return array[..., :d] + 1j * array[..., d:]
    return array[..., 0::2] + 1j * array[..., 1::2]


def as_interleaved(problem: Problem) -> Problem:
    """Return the problem in real pairs, the layout in which gradients are taken."""
    return replace(problem, layout="interleaved")
