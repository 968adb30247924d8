"""From a problem in NumPy to the library under test, and its answers back to NumPy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from types import FunctionType
from typing import Any

import numpy as np
from hypothesis import reject
from numpy.typing import NDArray

from afa_conformance.descriptions import HALVES
from afa_conformance.limits import skip_unsupported
from afa_conformance.problems import (
    TOKENS,
    DrawnProblem,
    completed,
    decay_factors,
    features,
    leaves,
    phases,
    visibility,
    with_leaves,
)
from afa_conformance.subject import Subject
from afa_core import DiagonalSDE, RadialTangential, RadialTangentialSDE
from afa_core._array.arrays import namespace

LEAST_DECAY = {"float64": 1e-30, "float32": 1e-30, "bfloat16": 1e-30, "float16": 1e-2}


def encode(problem: DrawnProblem) -> DrawnProblem:
    """Write modes in the problem's layout; cast everything but times and masks to its dtype."""
    narrow = np.dtype(parameter_dtype(problem))
    changes: dict[str, Any] = {}
    for name, x in leaves(problem).items():
        if name in TOKENS:
            changes[name] = write_modes(x, problem.layout, narrow)
        elif isinstance(x, np.ndarray | np.generic):
            keep = name == "mask" or name.endswith("_times")
            changes[name] = np.array(x) if keep else np.asarray(x).astype(narrow)
    return with_leaves(problem, changes)


def parameter_dtype(problem: DrawnProblem) -> str:
    """Return the dtype that parameters have: half precision is for tokens alone."""
    return "float64" if problem.dtype == "float64" else "float32"


def send(problem: DrawnProblem, subject: Subject) -> DrawnProblem:
    """Return the encoded problem in arrays of the backend; skip what is declared unsupported."""
    reason = subject.refusal(features(problem))
    if reason:
        skip_unsupported(reason)
    if problem.dtype == "float64" and not subject.wide:
        skip_unsupported("float64")
    if problem.layout == "complex" and not subject.complex:
        skip_unsupported("complex numbers")
    if not subject.has(problem.dtype):
        skip_unsupported(f"{subject.name} has no {problem.dtype}")
    encoded = encode(problem)
    arrays: dict[str, Any] = {}
    for name, x in leaves(encoded).items():
        if isinstance(x, np.ndarray):
            timed = name.endswith("_times")
            x = x.astype(subject.times_dtypes[x.dtype.kind]) if timed else x
            arrays[name] = subject.from_numpy(x)
            if name in TOKENS and problem.dtype in HALVES:
                xp: Any = namespace(tokens=arrays[name])
                arrays[name] = xp.astype(arrays[name], getattr(xp, problem.dtype))
    return with_leaves(encoded, arrays)


def arguments(sent: DrawnProblem) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return positional and keyword arguments of `afa_core.attention`."""
    kept = {each.name: getattr(sent, each.name) for each in fields(sent)}
    del kept["description"]
    positional = tuple(kept.pop(name) for name in ("query", "key", "value", "sde"))
    if sent.layout == "complex":
        del kept["layout"]
    return positional, kept


def run_attention(problem: DrawnProblem, subject: Subject) -> NDArray[Any]:
    """Attend; complex modes in NumPy."""
    return read(call(subject.attention, send(problem, subject), subject), problem, subject)


def run_estimate(problem: DrawnProblem, subject: Subject) -> tuple[NDArray[Any], Any]:
    """Estimate: complex modes and precision in NumPy, None if the subject claims no precision."""
    mean, precision = library_results(send(problem, subject), subject)
    return read(mean, problem, subject), fetch(precision, subject)


def library_results(sent: DrawnProblem, subject: Subject) -> tuple[Any, Any]:
    """Return mean and precision as the library's own arrays, None for a precision not claimed."""
    if subject.estimate is None:
        return call(subject.attention, sent, subject), None
    mean, precision = call(subject.estimate, sent, subject)
    return mean, precision


def applied_weights(problem: DrawnProblem, subject: Subject) -> Any:
    """Return the weights A that attention itself applies, seen through values of 0 and 1.

    A value of 1 at token j alone gives A_ij E_ij, at a frequency of values of zero; for the
    radial–tangential form its first mode lies along the anchor and its second across it. E is
    NumPy's; where it all but underflows A cannot be seen, and hypothesis draws another example.
    """
    p = completed(problem)
    m, per_mode = p.key.shape[-2], isinstance(p.sde, DiagonalSDE)
    seen = visibility(p)[..., None] if per_mode else visibility(p)
    fading = np.where(seen, decay_factors(p), 1.0)
    if np.min(fading, initial=1.0) < LEAST_DECAY[p.dtype]:
        reject()
    two = isinstance(p.sde, RadialTangentialSDE)
    modes = p.modes if per_mode else max(p.value_modes, 2) if two else p.value_modes
    alone = np.eye(m).reshape((m, *(1,) * len(p.leading), m, 1))
    changes: dict[str, Any] = {"value": alone * np.ones(modes, dtype=complex)}
    if not per_mode:
        changes["sde"] = p.sde._replace(value_frequency=0.0)
    if two:
        along = np.eye(1, modes, dtype=complex)
        changes["anchor"] = along * np.ones((p.query.shape[-2], 1))
    carried = run_attention(replace(p, **changes), subject)
    if per_mode:
        return (np.moveaxis(carried, 0, -2) * phases(p).conj()).real / fading
    shown = np.moveaxis(carried, 0, -2).real / fading[..., None]
    return RadialTangential(shown[..., 0], shown[..., 1]) if two else shown[..., 0]


def call(function: Callable[..., Any], sent: DrawnProblem, subject: Subject) -> Any:
    """Call a function of the arguments of attention, compiled if the subject is to be."""
    if subject.compiled:
        arrays = {name: x for name, x in leaves(sent).items() if not isinstance(x, float)}
        return _compiled(function, sent, tuple(arrays), subject)(*arrays.values())
    positional, options = arguments(sent)
    return function(*positional, **options)


def _compiled(
    function: Callable[..., Any], sent: DrawnProblem, names: tuple[str, ...], subject: Subject
) -> Callable[..., Any]:
    """Return the compiled function of the named arrays, one for whatever else is alike."""
    static = replace(with_leaves(sent, dict.fromkeys(names)), description=None)
    kind = (function, names, type(sent.sde), type(sent.weighting), static)
    if kind not in subject.programs:

        def call(*arrays: Any) -> Any:
            positional, options = arguments(
                with_leaves(static, dict(zip(names, arrays, strict=True)))
            )
            return function(*positional, **options)

        # torch limits how often one code object is compiled again, so each has its own
        own = FunctionType(
            call.__code__.replace(), globals(), call.__name__, None, call.__closure__
        )
        subject.programs[kind] = subject.compile(own)
    return subject.programs[kind]


def read(mean: Any, problem: DrawnProblem, subject: Subject) -> NDArray[Any]:
    """Return a mean as complex modes in NumPy."""
    return read_modes(fetch(mean, subject), problem.layout)


def fetch(result: Any, subject: Subject) -> Any:
    """Return an array, or two of them (radial, tangential), in NumPy; None of None."""
    if not subject.holds_values:
        skip_unsupported(f"the device {subject.device!r} holds no values")
    if result is None:
        return None
    if isinstance(result, RadialTangential):
        return RadialTangential(*(subject.to_numpy(x) for x in result))
    return subject.to_numpy(result)


def parts(result: Any) -> tuple[NDArray[Any], ...]:
    """Return the arrays of a precision or of weights: two for radial–tangential, none of None."""
    if result is None:
        return ()
    return tuple(result) if isinstance(result, RadialTangential) else (result,)


def key_axis(problem: DrawnProblem) -> int:
    """Return the axis of the keys in the weights of this form."""
    return -2 if isinstance(problem.sde, DiagonalSDE) else -1


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


def as_interleaved(problem: DrawnProblem) -> DrawnProblem:
    """Return the problem in real pairs, the layout in which gradients are taken."""
    return replace(problem, layout="interleaved")
