"""Derivatives propagate through a cache (spec §9, §13)."""

from __future__ import annotations

from collections.abc import Sequence
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
from afa_core import estimate

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

    assert subject.grad is not None
    expected, found = (
        dict(zip(inputs, map(subject.to_numpy, subject.grad(f, *inputs.values())), strict=True))
        for f in (parallel, stepwise)
    )
    least = 1e-2 * max(float(np.max(np.abs(x))) for x in expected.values())
    for name, exact in expected.items():
        scale = float(np.max(np.abs(exact))) + least
        subject.assert_close(found[name], exact, 16 * problem.eps * condition(problem), scale=scale)
