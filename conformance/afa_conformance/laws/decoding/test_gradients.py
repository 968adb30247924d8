"""Derivatives propagate through a cache, and through parts of the keys (spec §9, §13)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from afa_conformance.descriptions import FORMS, Description
from afa_conformance.laws.decoding.steps import prompt, step
from afa_conformance.problems import (
    DrawnProblem,
    completed,
    condition,
    in_arrays,
    leaves,
    with_leaves,
)
from afa_conformance.runner import arguments, send
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject
from afa_core import estimate, finish, key_influence, merge, partial_attention

TOKENS, FIRST = 5, 2
CASES: dict[str, dict[str, Any]] = {
    "isotropic": {"decay": "zero"},
    "diagonal": {"weighting": "gaussian", "temperature": "array"},
    "radial_tangential": {"rotation": "own"},
}


@pytest.mark.needs("gradients")
@pytest.mark.many_shapes
@pytest.mark.parametrize("correlated", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_gradients_are_those_of_attention(subject: Subject, form: str, correlated: bool) -> None:
    """Spec §13: derivatives by tokens, times and parameters equal those of the reference.

    To 16 ε times the condition of the problem, of the largest entry of each derivative plus 1 % of
    the largest of all.
    """
    description = Description(
        form=form, queries=TOKENS, keys=TOKENS, dtype=subject.dtype, layout="interleaved",
        times="irregular", anchored=True, correlated=correlated, query_variance=correlated,
        **CASES[form],
    )  # fmt: skip
    problem = in_arrays(completed(sample_problem(description)))
    problem = replace(problem, query_times=problem.key_times)
    sent = send(problem, subject)
    inputs = leaves(sent)
    del inputs["query_times"]
    factors = subject.from_numpy(
        np.random.default_rng(0).normal(size=(TOKENS - FIRST, 2 * problem.value_modes))
    )

    def at(arrays: Sequence[Any]) -> DrawnProblem:
        named = dict(zip(inputs, arrays, strict=True))
        return with_leaves(sent, named | {"query_times": named["key_times"]})

    def parallel(*arrays: Any) -> Any:
        positional, options = arguments(at(arrays))
        mean, _ = estimate(*positional, **options, implementation="reference")
        return (mean[FIRST:, :] * factors).sum()

    def stepwise(*arrays: Any) -> Any:
        moved = at(arrays)
        cache, total = prompt(moved, FIRST), 0.0
        for tokens in (slice(2, 3), slice(3, 5)):
            result, cache = step(moved, cache, tokens)
            rows = slice(tokens.start - FIRST, tokens.stop - FIRST)
            total = total + (result.mean * factors[rows]).sum()
        return total

    assert_same_gradients(parallel, stepwise, inputs, problem, subject)


@pytest.mark.needs("gradients")
@pytest.mark.many_shapes
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_gradients_of_parts(subject: Subject, form: str, causal: bool) -> None:
    """Spec §14: derivatives of merged parts of correlated keys equal those of the reference.

    They propagate through the filter of the whole sequence. To 16 ε times the condition of the
    problem, of the largest entry of each derivative plus 1 % of the largest of all.
    """
    description = Description(
        form=form, queries=TOKENS, keys=TOKENS, dtype=subject.dtype, layout="interleaved",
        times="irregular", anchored=True, correlated=True, query_variance=True, causal=causal,
        **CASES[form],
    )  # fmt: skip
    problem = in_arrays(completed(sample_problem(description)))
    sent = send(problem, subject)
    inputs = leaves(sent)
    factors = subject.from_numpy(
        np.random.default_rng(0).normal(size=(TOKENS, 2 * problem.value_modes))
    )

    def moved(arrays: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return arguments(with_leaves(sent, dict(zip(inputs, arrays, strict=True))))

    def parallel(*arrays: Any) -> Any:
        positional, options = moved(arrays)
        mean, _ = estimate(*positional, **options, implementation="reference")
        return (mean * factors).sum()

    def in_parts(*arrays: Any) -> Any:
        (query, key, value, sde), options = moved(arrays)
        times = options.pop("query_times"), options.pop("key_times")
        del options["mask"], options["causal"]
        influence = key_influence(*times, sde, causal=causal)
        states = [
            partial_attention(
                query, key[own, :], value[own, :], sde, influence=influence.part(own), **options
            )
            for own in (slice(0, 2), slice(2, TOKENS))
        ]
        return (finish(merge(*states)).mean * factors).sum()

    assert_same_gradients(parallel, in_parts, inputs, problem, subject)


def assert_same_gradients(
    exact: Callable[..., Any],
    other: Callable[..., Any],
    inputs: dict[str, Any],
    problem: DrawnProblem,
    subject: Subject,
) -> None:
    """Assert that derivatives are the same, each on its scale plus 1 % of the largest of all."""
    assert subject.grad is not None
    expected, found = (
        dict(zip(inputs, map(subject.to_numpy, subject.grad(f, *inputs.values())), strict=True))
        for f in (exact, other)
    )
    least = 1e-2 * max(float(np.max(np.abs(x))) for x in expected.values())
    for name, values in expected.items():
        scale, tolerance = float(np.max(np.abs(values))) + least, 16 * problem.eps
        subject.assert_close(found[name], values, tolerance * condition(problem), scale=scale)
