"""A query of infinite noise averages uniformly (spec §7.4)."""

from __future__ import annotations

import numpy as np
import pytest

from afa_conformance.descriptions import FORMS, Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.numerics import slope
from afa_conformance.problems import leaves, visibility, with_leaves
from afa_conformance.runner import applied_weights, key_axis, parts
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject


@pytest.mark.asserts
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.fewer_examples(2)
@drawn(
    description=descriptions(
        leading=(), sharing="each", decay="ordinary", noise="ordinary",
        weighting=["student", "gaussian"], temperature="one", masked=False, queries=4,
        keys=4, modes=2, value_modes=2, dtype="float64",
    )
)  # fmt: skip
def test_uniform_attention(subject: Subject, form: str, description: Description) -> None:
    """Spec §7.4: γ² → ∞ gives uniform weights, approached like 1/γ²: the exponent is −1 to 0.02."""
    problem = sample_problem(description.having(form=form))
    visible, axis = visibility(problem), key_axis(problem)
    uniform = visible / np.sum(visible, axis=-1, keepdims=True)
    uniform = uniform if axis == -1 else uniform[..., None]
    sizes, errors = (1e5, 1e6, 1e7), []
    for size in sizes:
        noisy = {
            name: np.full_like(x, size)
            for name, x in leaves(problem).items()
            if name.endswith(".query")
        }
        components = parts(applied_weights(with_leaves(problem, noisy), subject))
        errors.append(max(float(np.max(np.abs(component - uniform))) for component in components))
    assert abs(slope(sizes, errors) + 1.0) < 0.02
