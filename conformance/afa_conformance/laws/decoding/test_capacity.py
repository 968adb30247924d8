"""The capacity of a cache has no effect until it is exceeded (spec §9)."""

from __future__ import annotations

import pytest

from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.laws.decoding.steps import assert_same, at_own_times, decode, prompt, step
from afa_conformance.runner import run_estimate, send
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject

TOKENS = 40
"""More than the first and the second capacity of a cache that grows."""


@pytest.mark.many_shapes
@pytest.mark.fewer_examples(5)
@drawn(
    description=descriptions(
        causal=True, masked=False, queries=TOKENS, keys=TOKENS, correlated=[False, True]
    )
)
def test_growth_changes_nothing(subject: Subject, description: Description) -> None:
    """Spec §9: a cache that grows gives the same as one of sufficient capacity from the start.

    Both equal attention over all tokens, to 8 ε times the condition of the problem.
    """
    problem = at_own_times(sample_problem(description))
    sizes = [3, 15, 1, 1, 1, 12, 1, 5, 1]
    expected = run_estimate(problem, subject)
    for capacity in (None, TOKENS):
        assert_same(decode(problem, subject, sizes, capacity=capacity), expected, problem, subject)


@pytest.mark.asserts
@pytest.mark.parametrize("count", [1, 3])
def test_full_cache_is_refused(subject: Subject, count: int) -> None:
    """Spec §9: tokens beyond a fixed capacity raise ValueError; they are not dropped."""
    sent = send(sample_problem(Description(dtype=subject.dtype, layout="interleaved")), subject)
    cache = prompt(sent, 4 - count + 1, capacity=4)
    with pytest.raises(ValueError, match=rf"room for {count} more tokens, got {5 - count} of 4"):
        step(sent, cache, slice(0, count))
