"""Runs attention on a problem: sends NumPy arrays to the library, reads results back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, TypeAlias

import numpy as np
from hypothesis.errors import UnsatisfiedAssumption
from numpy.typing import NDArray

from afa_conformance.descriptions import HALVES
from afa_conformance.limits import skip_unsupported
from afa_conformance.problems import (
    TOKENS,
    DrawnProblem,
    completed,
    decay_factors,
    in_arrays,
    leaves,
    phases,
    visibility,
    with_leaves,
)
from afa_conformance.subject import Subject
from afa_core import (
    DiagonalSDE,
    Gaussian,
    IsotropicSDE,
    RadialTangential,
    RadialTangentialSDE,
    Rational,
    StudentT,
    Uniform,
)
from afa_core._array.arrays import namespace

MIN_DECAY_FACTOR = {"float64": 1e-30, "float32": 1e-30, "bfloat16": 1e-30, "float16": 1e-2}

"""Below it E is too small to measure a weight by."""

PerForm: TypeAlias = Any
"""An array; a `RadialTangential` of arrays for that form; None without an `estimate`."""


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
    """Return the dtype of parameters: half precision is for tokens only."""
    return "float64" if problem.dtype == "float64" else "float32"


def features(problem: DrawnProblem) -> dict[str, Any]:
    """Return the properties of a problem that an implementation may declare unsupported."""
    kinds = {
        IsotropicSDE: "isotropic",
        DiagonalSDE: "diagonal",
        RadialTangentialSDE: "radial_tangential",
        StudentT: "student",
        Gaussian: "gaussian",
        Rational: "rational",
        Uniform: "uniform",
    }
    return {
        "form": kinds[type(problem.sde)],
        "weighting": kinds[type(problem.weighting)],
        "dtype": problem.dtype,
        "layout": problem.layout,
        "modes": problem.modes,
        "value_modes": problem.value_modes,
        "causal": problem.causal,
        "masked": problem.mask is not None,
        "anchored": problem.anchor is not None,
        "correlated": problem.correlated,
        "query_variance": problem.query_variance is not None,
        "tolerance": problem.tolerance is not None,
    }


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
    encoded = encode(in_arrays(problem, keep=_compiled_in(problem)) if subject.batch else problem)
    arrays: dict[str, Any] = {}
    for name, x in leaves(encoded).items():
        if isinstance(x, np.ndarray):
            if name.endswith("_times"):
                widest = subject.times_dtypes[x.dtype.kind]
                x = x.astype(min(x.dtype, widest, key=lambda dtype: dtype.itemsize))
            arrays[name] = subject.from_numpy(x)
            if name in TOKENS and problem.dtype in HALVES:
                xp: Any = namespace(tokens=arrays[name])
                arrays[name] = xp.astype(arrays[name], getattr(xp, problem.dtype))
    return with_leaves(encoded, arrays)


def _compiled_in(problem: DrawnProblem) -> tuple[str, ...]:
    """Return the Python numbers that all problems of a shape have in common."""
    description = problem.description
    return ("weighting.dof",) if description and description.dof is not None else ()


def arguments(sent: DrawnProblem) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return positional and keyword arguments of `afa_core.attention`."""
    kept = {each.name: getattr(sent, each.name) for each in fields(sent)}
    del kept["description"]
    positional = tuple(kept.pop(name) for name in ("query", "key", "value", "sde"))
    if sent.layout == "complex":
        del kept["layout"]
    for name, absent in (("correlated", False), ("query_variance", None), ("tolerance", None)):
        if kept[name] is absent:  # kernels need not have these arguments
            del kept[name]
    return positional, kept


def run_attention(problem: DrawnProblem, subject: Subject) -> NDArray[Any]:
    """Return the mean by `Subject.attention`, as complex modes in NumPy."""
    return read(call(subject.attention, send(problem, subject), subject), problem, subject)


def run_estimate(problem: DrawnProblem, subject: Subject) -> tuple[NDArray[Any], PerForm]:
    """Return mean, as complex modes, and precision by `Subject.estimate`, in NumPy."""
    mean, precision = library_results(send(problem, subject), subject)
    return read(mean, problem, subject), fetch(precision, subject)


def library_results(sent: DrawnProblem, subject: Subject) -> tuple[Any, PerForm]:
    """Return mean and precision as arrays of the library."""
    if subject.estimate is None:
        return call(subject.attention, sent, subject), None
    mean, precision = call(subject.estimate, sent, subject)
    return mean, precision


def applied_weights(problem: DrawnProblem, subject: Subject) -> PerForm:
    """Return the weights A that attention itself applies, measured by values of 0 and 1.

    A value of 1 at token j only, with values that do not rotate, gives A_ij E_ij; in the
    radial–tangential form its first mode is along the anchor and its second across it. E is
    NumPy's. Where E almost underflows, A cannot be measured: hypothesis draws another example.
    """
    problem = completed(problem)
    per_mode = isinstance(problem.sde, DiagonalSDE)
    visible = visibility(problem)[..., None] if per_mode else visibility(problem)
    decay_factor = np.where(visible, decay_factors(problem), 1.0)
    if np.min(decay_factor, initial=1.0) < MIN_DECAY_FACTOR[problem.dtype]:
        raise UnsatisfiedAssumption
    decayed = run_attention(_with_unit_values(problem), subject)  # (m, ..., n, modes), A E
    if per_mode:
        return (np.moveaxis(decayed, 0, -2) * phases(problem).conj()).real / decay_factor
    weights = np.moveaxis(decayed, 0, -2).real / decay_factor[..., None]
    if isinstance(problem.sde, RadialTangentialSDE):
        return RadialTangential(weights[..., 0], weights[..., 1])
    return weights[..., 0]


def _with_unit_values(problem: DrawnProblem) -> DrawnProblem:
    """Return the problem with a first axis of m: on it, value j is 1 and all others are 0."""
    m, modes = problem.key.shape[-2], problem.value_modes
    directional = isinstance(problem.sde, RadialTangentialSDE)
    changes: dict[str, Any] = {}
    if isinstance(problem.sde, DiagonalSDE):
        modes = problem.modes
    else:
        changes["sde"] = problem.sde._replace(value_frequency=0.0)
    if directional:
        modes = max(modes, 2)
        first_mode = np.eye(1, modes, dtype=complex)
        changes["anchor"] = first_mode * np.ones((problem.query.shape[-2], 1))
    units = np.eye(m).reshape((m, *(1,) * len(problem.leading), m, 1))
    return replace(problem, **changes, value=units * np.ones(modes, dtype=complex))


def call(function: Callable[..., Any], sent: DrawnProblem, subject: Subject) -> Any:
    """Call a function of the arguments of attention by `Subject.evaluate`."""
    arrays = {name: x for name, x in leaves(sent).items() if not isinstance(x, float)}
    names = tuple(arrays)
    static = replace(with_leaves(sent, dict.fromkeys(names)), description=None)

    def of_arrays(*arrays: Any) -> Any:
        found = with_leaves(static, dict(zip(names, arrays, strict=True)))
        positional, options = arguments(found)
        return function(*positional, **options)

    program = (function, names, type(sent.sde), type(sent.weighting), static)
    return subject.evaluate(program, of_arrays, *arrays.values())


def read(mean: Any, problem: DrawnProblem, subject: Subject) -> NDArray[Any]:
    """Return a mean as complex modes in NumPy."""
    return read_modes(fetch(mean, subject), problem.layout)


def fetch(result: PerForm, subject: Subject) -> PerForm:
    """Return results in NumPy."""
    if not subject.holds_values:
        skip_unsupported(f"the device {subject.device!r} holds no values")
    if result is None:
        return None
    if isinstance(result, RadialTangential):
        return RadialTangential(*(subject.to_numpy(x) for x in result))
    return subject.to_numpy(result)


def parts(result: PerForm) -> tuple[NDArray[Any], ...]:
    """Return the arrays of a precision or of weights: two if radial–tangential, none of None."""
    if result is None:
        return ()
    return tuple(result) if isinstance(result, RadialTangential) else (result,)


def key_axis(problem: DrawnProblem) -> int:
    """Return the axis of keys in the weights of the form."""
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
