"""The estimate is linear in the values (spec §13)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.numerics import complex_normal
from afa_conformance.problems import completed
from afa_conformance.runner import run_attention
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject


@drawn(description=descriptions(correlated=[False, True]))
def test_complex_linearity(subject: Subject, description: Description) -> None:
    """Spec §13: x̂(av + bv′) = a x̂(v) + b x̂(v′) for complex a and b, with the anchor held.

    To 64 ε of |a| max|v| + |b| max|v′|: the same weights serve all three.
    """
    problem = completed(sample_problem(description))
    rng = np.random.default_rng(description.seed)
    other = complex_normal(rng, problem.value.shape)
    a, b = complex_normal(rng, (2,))
    combined = run_attention(replace(problem, value=a * problem.value + b * other), subject)
    first, second = (
        run_attention(replace(problem, value=value), subject) for value in (problem.value, other)
    )
    # the same weights serve all three, so only the values' own roundings differ
    size = np.abs(a) * np.max(np.abs(problem.value)) + np.abs(b) * np.max(np.abs(other))
    subject.assert_close(combined, a * first + b * second, 64 * problem.eps, scale=float(size))
