"""Decoding step by step is attention all at once (spec §9, §13)."""

from __future__ import annotations

import pytest
from hypothesis import given

from afa_conformance.descriptions import TIMES, Description, descriptions
from afa_conformance.laws.decoding.steps import assert_same, at_own_times, decode
from afa_conformance.realising import realise
from afa_conformance.sending import estimate
from afa_conformance.subject import Subject

TOKENS = 6
SEQUENCES = descriptions(
    causal=True, masked=False, queries=TOKENS, keys=TOKENS, times=[*TIMES], size=["ordinary"]
)


@pytest.mark.many_shapes
@given(description=SEQUENCES)
def test_token_by_token(subject: Subject, description: Description) -> None:
    """Spec §9: appending tokens one by one equals the parallel form, from an empty cache on."""
    problem = at_own_times(realise(description))
    found = decode(problem, subject, [1] * TOKENS)
    assert_same(found, estimate(problem, subject), problem)


@pytest.mark.many_shapes
@given(description=SEQUENCES)
def test_several_at_once(subject: Subject, description: Description) -> None:
    """Spec §9: so do tokens that come several at a time, causal by their order among themselves."""
    problem = at_own_times(realise(description))
    sizes = [[TOKENS], [2, 3, 1], [1, 4, 1], [3, 3]][description.seed % 4]
    found = decode(problem, subject, sizes)
    assert_same(found, estimate(problem, subject), problem)


@pytest.mark.many_shapes
@given(description=SEQUENCES)
def test_after_a_prompt(subject: Subject, description: Description) -> None:
    """Spec §9: it does not matter whether a token was cached by itself or with a prompt."""
    problem = at_own_times(realise(description))
    first = 1 + description.seed % 4
    capacity = TOKENS if description.seed % 2 else None
    found = decode(problem, subject, [1] * (TOKENS - first), first=first, capacity=capacity)
    assert_same(found, estimate(problem, subject), problem, slice(first, None))
