"""Runs a call, and compares its results with the expected ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, reduce
from itertools import pairwise
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
    visibility,
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
    least = 1e-2 * max(float(np.max(np.abs(each), initial=0.0)) for each in exact.values())
    tolerance = ROUNDINGS_OF_GRADIENTS * problem.eps * condition(problem)
    for name, each in exact.items():
        scale = max(float(np.max(np.abs(each), initial=0.0)), least)
        _check_close(f"gradient of {name}", found[name], each, tolerance, scale)


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
    scale = float(np.max(np.abs(exact[rows]), initial=0.0)) or 1.0
    tolerance = ROUNDINGS * problem.eps * condition(problem)
    tolerance += _left_out(problem, scale if what == "mean" else None)
    _check_close(what, found[rows], exact[rows], tolerance, scale)


def _left_out(problem: DrawnProblem, scale: float | None) -> float:
    """Return how much far keys that are left out change results, relative to them or a scale."""
    if not problem.correlated:
        return 0.0
    rounding = float(np.finfo(parameter_dtype(problem)).eps)
    share = 3.0 * (rounding if problem.tolerance is None else problem.tolerance)
    largest = float(np.max(np.linalg.norm(problem.value, axis=-1), initial=0.0))
    return share if scale is None else share * largest / scale


def _check_close(
    what: str, found: NDArray[Any], exact: NDArray[Any], tolerance: float, scale: float
) -> None:
    assert found.shape == exact.shape, f"{what}: shape {found.shape}, expected {exact.shape}"
    limits = np.finfo(found.dtype)
    held = np.abs(exact) < 1e-3 * float(limits.max)
    comparison = compare(found[held], exact[held], tolerance, scale=scale)
    if comparison is not None and not comparison.error <= comparison.allowed:
        raise AssertionError(f"{what}: {comparison.message}")
