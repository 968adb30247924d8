"""A cache can be continued more than once (spec §9)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.laws.decoding.steps import (
    assert_same,
    at_own_times,
    concatenated,
    prompt,
    step,
)
from afa_conformance.numerics import complex_normal
from afa_conformance.problems import DrawnProblem
from afa_conformance.runner import fetch, read, run_estimate, send
from afa_conformance.sampling import rounded, sample_problem
from afa_conformance.subject import Subject

FIRST, TOKENS = 3, 6


def other_end(problem: DrawnProblem, seed: int) -> DrawnProblem:
    """Return the problem with other tokens after the first."""
    rng = np.random.default_rng(seed)

    def end(x: NDArray[Any]) -> NDArray[Any]:
        new = complex_normal(rng, (*x.shape[:-2], TOKENS - FIRST, x.shape[-1]))
        return np.concatenate([x[..., :FIRST, :], new], axis=-2)

    changed: dict[str, Any] = {
        name: end(getattr(problem, name)) for name in ("query", "key", "value")
    }
    return rounded(replace(problem, **changed), problem.dtype)


@pytest.mark.many_shapes
@drawn(
    description=descriptions(
        causal=True, masked=False, queries=TOKENS, keys=TOKENS, correlated=[False, True]
    )
)
def test_branches(subject: Subject, description: Description) -> None:
    """Spec §9: continuations of one cache, interleaved step by step, are independent.

    Each equals attention over its own sequence, to 8 ε times the condition of the problem. The
    third continues from the cache after the others have grown it.
    """
    original = at_own_times(sample_problem(description))
    branches = original, other_end(original, 1), other_end(original, 2)
    sent = [send(each, subject) for each in branches]
    capacity = TOKENS if description.seed % 2 else None
    caches = [prompt(sent[0], FIRST, capacity=capacity)] * 3
    found: list[list[Any]] = [[], [], []]
    for branch, token in [(0, 3), (1, 3), (0, 4), (2, 3), (1, 4), (0, 5), (2, 4), (2, 5), (1, 5)]:
        result, caches[branch] = step(sent[branch], caches[branch], slice(token, token + 1))
        mean = read(result.mean, branches[branch], subject)
        found[branch].append((mean, fetch(result.precision, subject)))
    for problem, rows in zip(branches, found, strict=True):
        expected = run_estimate(problem, subject)
        assert_same(concatenated(rows, problem), expected, problem, subject, slice(FIRST, None))
