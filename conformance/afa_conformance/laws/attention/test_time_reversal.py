"""Attention that is not causal is symmetric under reversal of time (spec §8.4)."""

from __future__ import annotations

from dataclasses import replace

from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.problems import completed, condition, leaves, with_leaves
from afa_conformance.runner import run_attention
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject


@drawn(description=descriptions(causal=False))
def test_time_reversal(subject: Subject, description: Description) -> None:
    """Spec §8.4, §13: t → −t with ω → −ω changes nothing: decay and noise depend on |Δ|.

    To 8 ε times the condition of the problem.
    """
    problem = completed(sample_problem(description))
    frequencies = {name: -x for name, x in leaves(problem).items() if name.endswith("frequency")}
    mirrored = replace(
        with_leaves(problem, frequencies),
        query_times=-problem.query_times,
        key_times=-problem.key_times,
    )
    expected = run_attention(problem, subject)
    subject.assert_close(
        run_attention(mirrored, subject), expected, 8 * problem.eps * condition(problem)
    )
