"""Long prompts: the filter is as exact after many tokens, and pieces may be long (spec §9, §14)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from afa_conformance.comparisons import assert_estimate
from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.laws.decoding.steps import assert_same, at_own_times, decode
from afa_conformance.runner import run_estimate
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject

TOKENS, STEPS = 10_000, 4
TOLERANCE = {"float64": 1e-11, "float32": 8e-6}
"""In double precision the rounding of C, which is of the order of the number of tokens."""

PROMPTS = descriptions(
    correlated=True, causal=True, masked=False, weighting="uniform", rotation="off",
    noise="ordinary", decay=["ordinary", "zero"], form=["isotropic", "diagonal"], leading=[()],
    times=["default", "regular", "irregular"], queries=TOKENS, keys=TOKENS, layout="interleaved",
    dtype=["float64", "float32"],
)  # fmt: skip


@pytest.mark.many_shapes
@pytest.mark.fewer_examples(5)
@drawn(description=PROMPTS)
def test_steps_after_many_tokens(subject: Subject, description: Description) -> None:
    """Spec §14: steps after 10 000 tokens equal attention, although C has fallen by thousands.

    To 1e-11 in double and 8e-6 in single precision, where C itself would have rounding errors of
    1e-4.
    """
    problem = at_own_times(sample_problem(description))
    first = TOKENS - STEPS
    found = decode(problem, subject, [1, 2, 1], first=first)
    times = problem.query_times
    last = replace(
        problem,
        query=problem.query[..., first:, :],
        query_times=None if times is None else times[..., first:],
    )
    assert_estimate(found, run_estimate(last, subject), TOLERANCE[problem.dtype], subject)


PIECES = [500, 600]
"""So long that evaluation by tiles may be chosen."""


@pytest.mark.many_shapes
@pytest.mark.fewer_examples(5)
@drawn(
    description=descriptions(
        causal=True, masked=False, queries=sum(PIECES), keys=sum(PIECES), leading=[(), (2,)],
        correlated=[False, True], query_variance=[False, True], size=["ordinary"], noise="ordinary",
    )
)  # fmt: skip
def test_long_pieces(subject: Subject, description: Description) -> None:
    """Spec §9: a prompt in pieces of some hundred tokens equals causal attention.

    To 8 ε times the condition of the problem.
    """
    problem = at_own_times(sample_problem(description))
    found = decode(problem, subject, PIECES)
    assert_same(found, run_estimate(problem, subject), problem, subject)
