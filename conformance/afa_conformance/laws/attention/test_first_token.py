"""A query with one visible key returns its value (spec §13)."""

from __future__ import annotations

from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.runner import run_attention
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject

TIMES = ["default", "regular", "tied", "integers"]


@drawn(description=descriptions(causal=True, masked=False, queries=4, keys=4, times=TIMES))
def test_first_causal_row(subject: Subject, description: Description) -> None:
    """Spec §13: the first causal row returns v₀, for any query and anchor, to 16 ε."""
    problem = sample_problem(description)
    got = run_attention(problem, subject)[..., 0, :]
    expected = problem.value[..., 0, :] + 0.0 * got
    subject.assert_close(got, expected, 16 * problem.eps)
