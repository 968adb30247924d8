"""Compiled decoding equals attention over all tokens (spec §8, §9)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import afa_core
from afa_conformance.descriptions import FORMS, Description
from afa_conformance.laws.decoding.steps import (
    assert_same,
    at_own_times,
    concatenated,
    cut,
    prompt,
    step,
)
from afa_conformance.problems import DrawnProblem, in_arrays, leaves, with_leaves
from afa_conformance.runner import fetch, read, run_estimate, send
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject

TOKENS, FIRST = 6, 2
CASES: dict[str, dict[str, Any]] = {
    "isotropic": {"times": "irregular", "layout": "interleaved", "leading": (2,)},
    "diagonal": {"weighting": "gaussian", "temperature": "array", "layout": "halves"},
    "radial_tangential": {"times": "irregular", "rotation": "own", "layout": "interleaved"},
}


def need_traced_lengths(subject: Subject) -> None:
    """Skip where the compiler does not trace lengths."""
    if subject.name != "jax":
        pytest.skip(f"{subject.name} compiles no program for lengths that are not known")


@pytest.mark.parametrize("correlated", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_one_program_for_every_length(subject: Subject, form: str, correlated: bool) -> None:
    """Spec §9: with a fixed capacity one compiled program serves all steps; beyond it rows are NaN.

    The estimates equal those of attention over all tokens, to 8 ε times the condition of the
    problem.
    """
    need_traced_lengths(subject)
    description = Description(
        form=form, queries=TOKENS, keys=TOKENS, dtype=subject.dtype, correlated=correlated,
        query_variance=correlated, **CASES[form],
    )  # fmt: skip
    problem = at_own_times(in_arrays(sample_problem(description)))
    sent = send(problem, subject)
    names = [*leaves(sent)]
    programs = 0

    def run(cache: Any, *arrays: Any) -> Any:
        nonlocal programs
        programs += 1
        single: DrawnProblem = with_leaves(
            cut(sent, slice(0, 1)), dict(zip(names, arrays, strict=True))
        )
        return step(single, cache, slice(0, 1))

    compiled = subject.compile(run)
    cache = prompt(sent, FIRST, capacity=TOKENS)
    found = []
    for token in (*range(FIRST, TOKENS), 0):
        arrays = leaves(cut(sent, slice(token, token + 1))).values()
        result, cache = compiled(cache, *arrays)
        found.append((read(result.mean, problem, subject), fetch(result.precision, subject)))
    beyond_capacity, _ = found.pop()
    assert np.all(np.isnan(beyond_capacity))
    assert_same(
        concatenated(found, problem),
        run_estimate(problem, subject),
        problem,
        subject,
        slice(FIRST, None),
    )
    assert programs <= 2  # lengths are Python integers in the first step, traced afterwards


@pytest.mark.asserts
def test_growing_cache_is_refused(subject: Subject) -> None:
    """Spec §9: a cache that grows has no fixed shape to compile: ValueError names `capacity`."""
    need_traced_lengths(subject)
    sent = send(sample_problem(Description(dtype=subject.dtype, layout="interleaved")), subject)
    cache = prompt(sent, 2)
    run = subject.compile(lambda cache, x: afa_core.decode_step(x, x, x, sent.sde, cache))
    with pytest.raises(ValueError, match=r"must have a fixed `capacity`"):
        run(cache, sent.key[..., :1, :])
