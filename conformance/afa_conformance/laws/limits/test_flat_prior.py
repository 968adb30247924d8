"""Without process and measurement noise the prior is flat (spec §7.4)."""

from __future__ import annotations

import numpy as np
import pytest

from afa_conformance.descriptions import FORMS, Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.problems import leaves, visibility, weights_condition, with_leaves
from afa_conformance.runner import applied_weights, key_axis, parts
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject


@pytest.mark.parametrize("form", FORMS)
@drawn(description=descriptions(weighting="uniform", queries=4, keys=4))
def test_flat_prior(subject: Subject, form: str, description: Description) -> None:
    """Spec §7.4: at σ² = η² = 0, Σ = γ² at every lag, and `Uniform()` weighs all keys alike.

    To 4 ε times the condition of the weights.
    """
    problem = sample_problem(description.having(form=form, noise="ordinary"))
    noise_free = {
        name: 0.0 * x
        for name, x in leaves(problem).items()
        if name.endswith((".process", ".measurement"))
    }
    visible, axis = visibility(problem), key_axis(problem)
    count = np.sum(visible, axis=-1, keepdims=True)
    uniform = np.where(visible, 1.0 / np.maximum(count, 1), 0.0)
    uniform = uniform if axis == -1 else uniform[..., None]
    for weights in parts(applied_weights(with_leaves(problem, noise_free), subject)):
        subject.assert_close(
            weights,
            np.broadcast_to(uniform, weights.shape),
            4 * problem.eps * weights_condition(problem),
        )
