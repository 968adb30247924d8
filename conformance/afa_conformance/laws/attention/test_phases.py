"""The phase of a mode is a convention (spec §13)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.problems import completed, condition
from afa_conformance.runner import run_attention
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject


@drawn(description=descriptions(correlated=[False, True]))
def test_phases_of_modes(subject: Subject, description: Description) -> None:
    """Spec §13: phases of the modes of q and k change nothing; those of v multiply x̂.

    To 16 ε times the condition of the problem.
    """
    problem = completed(sample_problem(description))
    rng = np.random.default_rng(description.seed)
    phase, value_phase = (
        np.exp(1j * rng.uniform(-np.pi, np.pi, size))
        for size in (problem.modes, problem.value_modes)
    )
    rotated = replace(
        problem,
        query=phase * problem.query,
        key=phase * problem.key,
        value=value_phase * problem.value,
        anchor=None if problem.anchor is None else value_phase * problem.anchor,
    )
    expected = value_phase * run_attention(problem, subject)
    subject.assert_close(
        run_attention(rotated, subject), expected, 16 * problem.eps * condition(problem)
    )
