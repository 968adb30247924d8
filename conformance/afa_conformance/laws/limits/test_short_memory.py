"""At infinite decay only the token's own value contributes (spec §7.4)."""

from __future__ import annotations

import numpy as np
import pytest

from afa_conformance.descriptions import FORMS, Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.oracles.double_sum import double_sum
from afa_conformance.problems import DrawnProblem, condition, leaves, with_leaves
from afa_conformance.runner import run_attention
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject

STATIONARY = descriptions(
    leading=(), sharing="each", decay="stiff", noise="ordinary", times="default", causal=True,
    masked=False, anchored=False, queries=4, keys=4, modes=2, value_modes=2,
)  # fmt: skip


def faster(problem: DrawnProblem, factor: float) -> DrawnProblem:
    """Multiply μ and σ² alike: σ²/2μ stays fixed."""
    rates = {
        name: x * factor
        for name, x in leaves(problem).items()
        if name.endswith(("decay", "process"))
    }
    return with_leaves(problem, rates)


@pytest.mark.parametrize("form", FORMS)
@drawn(description=STATIONARY)
def test_only_the_own_value_remains(subject: Subject, form: str, description: Description) -> None:
    """Spec §7.4: μ → ∞ at fixed σ²/2μ gives x̂_i = A_ii v_i.

    To 8 ε times the condition of the problem. Decays of at least 50 leave E < 1e-21 at the smallest
    lag.
    """
    problem = faster(sample_problem(description.having(form=form)), 10.0)
    got, weights = run_attention(problem, subject), double_sum(problem).weights
    tolerance = 8 * problem.eps * condition(problem)
    if form == "radial_tangential":
        own = np.stack([np.diagonal(component) for component in weights])[..., None]
        # the anchor is the own value, so it is all radial
        subject.assert_close(got, own[0] * problem.value, tolerance)
        return
    own = np.diagonal(weights, axis1=0, axis2=1)
    own = own.T if form == "diagonal" else own[:, None]
    subject.assert_close(got, own * problem.value, tolerance)
