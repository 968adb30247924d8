"""Conjugate tokens with opposite frequencies give the conjugate estimate (spec §13)."""

from __future__ import annotations

import numpy as np

from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.problems import TOKENS, completed, condition, leaves, with_leaves
from afa_conformance.runner import run_attention
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject


@drawn(description=descriptions(correlated=[False, True]))
def test_conjugation(subject: Subject, description: Description) -> None:
    """Spec §13: conjugate q, k, v and ω → −ω give the conjugate x̂.

    To 4 ε times the condition of the problem. Real systems therefore have real estimates (spec §1).
    """
    problem = completed(sample_problem(description))
    changes = {}
    for name, x in leaves(problem).items():
        if name in TOKENS:
            changes[name] = np.conj(x)
        elif name.endswith("frequency"):
            changes[name] = -x
    expected = np.conj(run_attention(problem, subject))
    got = run_attention(with_leaves(problem, changes), subject)
    subject.assert_close(got, expected, 4 * problem.eps * condition(problem))
