"""Runs a call, and compares its results with the expected ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, reduce
from itertools import pairwise, starmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

import afa_core
from afa_conformance.closeness import compare
from afa_conformance.functionals import QUERY_DELAY, Functional, gradients
from afa_conformance.fuzz import series
from afa_conformance.fuzz.calls import Call
from afa_conformance.fuzz.nonfinite import unaffected
from afa_conformance.laws.decoding.steps import at_own_times, decode
from afa_conformance.laws.decoding.test_merging import (
    correlated_state,
    estimate_of,
    partial_state,
)
from afa_conformance.laws.window.test_window import accepted
from afa_conformance.loading import load_subject
from afa_conformance.oracles.direct import direct
from afa_conformance.oracles.double_sum import OracleResult
from afa_conformance.problems import (
    DrawnProblem,
    completed,
    condition,
    in_arrays,
    in_dtype,
    leaves,
    visibility,
    with_leaves,
)
from afa_conformance.runner import (
    arguments,
    fetch,
    parameter_dtype,
    parts,
    read,
    run_attention,
    run_estimate,
    send,
)
from afa_conformance.subject import Subject
from afa_core import DiagonalSDE, backend

ROUNDINGS = 64
"""Tolerance in ε times the condition of the problem."""
ROUNDINGS_OF_GRADIENTS = 4096
LARGEST = 1e-3
"""Results that are compared, as a share of the largest number of their dtype."""
REFERENCE = "torch"
"""The library that the gradients are compared with."""


def check(call: Call) -> None:
    """Raise AssertionError if the results of a call are not those expected."""
    CHECKS[call.function](call, subject_of(call))


@cache
def loaded(name: str) -> backend.Backend:
    """Load a library, JAX in double precision."""
    if name == "jax":
        import jax

        config: Any = jax.config
        config.update("jax_enable_x64", True)
    return backend.load(name)


def subject_of(call: Call) -> Subject:
    """Return the implementation that a call is about."""
    return load_subject(
        loaded(call.library), call.implementation, dtype=call.problem.dtype, tile=call.tile
    )


def expected(problem: DrawnProblem) -> OracleResult:
    """Return the results by the equations; of correlated keys by the reference in float64."""
    if not problem.correlated:
        return direct(problem)
    wide = replace(in_dtype(problem, "float64"), layout="complex", tolerance=None)
    subject = load_subject(loaded("numpy"), "reference")
    positional, options = arguments(send(wide, subject))
    return OracleResult(
        *run_estimate(wide, subject), afa_core.attention_weights(*positional, **options)
    )


def check_attention(call: Call, subject: Subject) -> None:
    """Compare the mean."""
    _compare(call, "mean", run_attention(call.given, subject), expected(call.problem).mean)


def check_estimate(call: Call, subject: Subject) -> None:
    """Compare mean and precision."""
    _compare_estimate(call, run_estimate(call.given, subject))


def check_weights(call: Call, subject: Subject) -> None:
    """Compare the weights."""
    positional, options = arguments(send(call.given, subject))
    found = parts(fetch(afa_core.attention_weights(*positional, **options), subject))
    core = 3 if isinstance(call.problem.sde, DiagonalSDE) else 2
    for got, each in zip(found, parts(expected(call.problem).weights), strict=True):
        shape = (*call.problem.leading, *each.shape[-core:])  # heads may share them
        _compare(call, "weights", np.broadcast_to(got, shape), np.broadcast_to(each, shape))


def check_window(call: Call, subject: Subject) -> None:
    """Compare the mean with a window that contains all keys."""
    positional, options = accepted(send(call.given, subject))
    window = max(call.given.key.shape[-2] + call.number % 3, 1)
    function: Any = afa_core.windowed_attention
    mean = function(*positional, **options, window=window, tile=call.tile)
    _compare(call, "mean", read(mean, call.given, subject), expected(call.problem).mean)


def check_decoding(call: Call, subject: Subject) -> None:
    """Compare the estimates of tokens that are decoded in some steps."""
    call = call.of(lambda problem: at_own_times(completed(problem)))
    tokens = call.given.key.shape[-2]
    first = int(call.rng.integers(tokens + 1))
    cuts = np.sort(call.rng.integers(first, tokens + 1, 3))
    steps = [each for each in np.diff(cuts, prepend=first, append=tokens).tolist() if each]
    if not steps:
        return
    capacity = (None, tokens, tokens + 3)[call.rng.integers(3)]
    mask = None if call.given.mask is None else call.given.mask[..., 0, :]
    given = replace(call.given, mask=None)
    found = decode(given, subject, steps, first=first, capacity=capacity, mask=mask)
    _compare_estimate(call, found, first)


def check_parts(call: Call, subject: Subject) -> None:
    """Compare the estimate of parts of the keys that are merged."""
    call = call.of(completed)
    given, keys = call.given, call.given.key.shape[-2]
    cuts = np.sort(call.rng.integers(0, keys + 1, 3))
    if given.correlated:
        slices = [slice(*each) for each in pairwise((0, *cuts.tolist(), keys))]
        states = correlated_state(given, slices, subject)
    else:
        of_parts = replace(given, mask=visibility(given), causal=False)
        split = np.split(call.rng.permutation(keys), cuts)
        states = [partial_state(of_parts, part, subject) for part in split]
    whole = reduce(afa_core.merge, [states[each] for each in call.rng.permutation(len(states))])
    _compare_estimate(call, estimate_of(whole, given, subject))


def check_gradients(call: Call, subject: Subject) -> None:
    """Compare the gradients of a random functional with those of the reference in float64."""
    delay = 0.0 if call.library == REFERENCE else QUERY_DELAY  # libraries differ at |Δ| = 0

    def prepared(problem: DrawnProblem) -> DrawnProblem:
        problem = completed(problem)
        return in_arrays(replace(problem, query_times=problem.query_times + delay))

    call = call.of(prepared)
    problem = call.problem
    functional = Functional.draw(problem, call.rng)
    found = gradients(call.given, functional, subject)
    reference = load_subject(loaded(REFERENCE), "reference")
    exact = gradients(in_dtype(problem, "float64"), functional, reference)
    largest = max(_largest(each) for each in exact.values())
    if largest > LARGEST * float(np.finfo(parameter_dtype(problem)).max):
        return  # one that overflows takes others along
    tolerance = ROUNDINGS_OF_GRADIENTS * problem.eps * condition(problem)
    scales = {name: max(_largest(each), 1e-2 * largest) for name, each in exact.items()}

    def differences(allowed: dict[str, float]) -> list[str]:
        every = ((name, found[name], exact[name], allowed[name], scales[name]) for name in exact)
        return [fault for fault in starmap(_difference, every) if fault]

    if differences(dict.fromkeys(exact, tolerance)):
        nearby = gradients(_rounded(problem, call.rng), functional, reference)
        allowed = {
            name: tolerance
            + 16.0 * (_largest(nearby[name] - each) + _level_rounding(problem, name)) / scales[name]
            for name, each in exact.items()
        }
        if faults := differences(allowed):
            raise AssertionError(f"gradient of {faults[0]}")


def _rounded(problem: DrawnProblem, rng: np.random.Generator) -> DrawnProblem:
    """Return the problem in double precision, all numbers but times changed by two roundings."""
    wide = in_dtype(problem, "float64")

    def changed(x: Any) -> Any:
        signs = rng.choice([-2.0, 2.0], np.shape(x))
        return x * (1.0 + problem.eps * signs)

    numbers = {
        name: changed(x)
        for name, x in leaves(wide).items()
        if np.issubdtype(np.asarray(x).dtype, np.inexact) and not name.endswith("_times")
    }
    return with_leaves(wide, numbers)


def _level_rounding(problem: DrawnProblem, name: str) -> float:
    """Return the rounding of a derivative of the levels of influence in a noise.

    A level is a sum over the keys of log-gains, whose derivatives in a noise are up to its inverse.
    """
    noise = np.asarray(leaves(problem)[name])
    if not (problem.correlated and "noise." in name) or not np.any(noise > 0):
        return 0.0
    return float(problem.eps * problem.key.shape[-2] / np.min(noise[noise > 0]))


def _largest(x: NDArray[Any]) -> float:
    return float(np.max(np.abs(x), initial=0.0))


def check_filter(call: Call, subject: Subject) -> None:
    """Compare the exact filter of a series that is drawn here."""
    series.check_filter(subject, parameter_dtype(call.problem), call.rng)


def check_smoother(call: Call, subject: Subject) -> None:
    """Compare the smoother of a series that is drawn here."""
    dense = load_subject(loaded("numpy"), "reference")
    series.check_smoother(subject, dense, parameter_dtype(call.problem), call.rng)


CHECKS: dict[str, Callable[[Call, Subject], None]] = {
    "attention": check_attention,
    "estimate": check_estimate,
    "attention_weights": check_weights,
    "windowed_attention": check_window,
    "decode": check_decoding,
    "partial_attention": check_parts,
    "kalman.filter": check_filter,
    "kalman.smoother": check_smoother,
    "gradients": check_gradients,
}


def _compare_estimate(call: Call, found: tuple[Any, Any], first: int = 0) -> None:
    """Compare mean and precision of the rows after the first ones."""
    exact = expected(call.problem)
    _compare(call, "mean", found[0], exact.mean[..., first:, :], first)
    per_mode = isinstance(call.problem.sde, DiagonalSDE)
    for got, each in zip(parts(found[1]), parts(exact.precision), strict=True):
        rest = each[..., first:, :] if per_mode else each[..., first:]
        _compare(call, "precision", got, rest, first)


def _compare(
    call: Call, what: str, found: NDArray[Any], exact: NDArray[Any], first: int = 0
) -> None:
    """Compare results where rows ignore non-finite numbers and the dtype can hold them."""
    assert found.shape == exact.shape, f"{what}: shape {found.shape}, expected {exact.shape}"
    if not exact.size:
        return
    problem = call.problem
    rows = unaffected(problem, call.given)[..., first:]
    scale = _largest(exact[rows]) or 1.0
    tolerance = ROUNDINGS * problem.eps * condition(problem)
    tolerance += _left_out(problem, scale if what == "mean" else None)
    if problem.dtype == "float16":  # below its least normal number roundings are not relative
        scale = max(scale, float(np.finfo(np.float16).tiny))
    if fault := _difference(what, found[rows], exact[rows], tolerance, scale):
        raise AssertionError(fault)


def _left_out(problem: DrawnProblem, scale: float | None) -> float:
    """Return how much far keys that are left out change results, relative to them or a scale."""
    if not problem.correlated:
        return 0.0
    rounding = float(np.finfo(parameter_dtype(problem)).eps)
    share = 3.0 * (rounding if problem.tolerance is None else problem.tolerance)
    largest = _largest(np.linalg.norm(problem.value, axis=-1))
    return share if scale is None else share * largest / scale


def _difference(
    what: str, found: NDArray[Any], exact: NDArray[Any], tolerance: float, scale: float
) -> str | None:
    """Return how results differ by more than a share of a scale, where the dtype can hold them."""
    assert found.shape == exact.shape, f"{what}: shape {found.shape}, expected {exact.shape}"
    held = np.abs(exact) < LARGEST * float(np.finfo(found.dtype).max)
    comparison = compare(found[held], exact[held], tolerance, scale=scale)
    if comparison is None or comparison.error <= comparison.allowed:
        return None
    return f"{what}: {comparison.message}"
