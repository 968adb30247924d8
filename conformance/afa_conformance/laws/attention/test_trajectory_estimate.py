"""A trajectory of the dynamics is a fixed point (spec §7.5)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.problems import completed, condition, visibility
from afa_conformance.runner import run_attention
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject
from afa_conformance.trajectories import trajectory


@drawn(description=descriptions(causal=True, decay=["ordinary", "zero", "slow"]))
def test_fixed_point(subject: Subject, description: Description) -> None:
    """Spec §7.5: v_j = e^{Λt_j}x₀ gives x̂_i = e^{Λt_i}x₀, for any q, k and parameters.

    To 16 ε times the condition of the problem. Every value predicts the same state, so the weights
    have no effect.
    """
    problem = completed(sample_problem(description))
    expected, value = trajectory(problem, tokens="value")
    got = run_attention(replace(problem, value=value), subject)
    visible = np.any(visibility(problem), axis=-1)[..., None]
    expected = np.where(visible, expected, 0.0)
    subject.assert_close(
        got, np.broadcast_to(expected, got.shape), 16 * problem.eps * condition(problem)
    )
