"""Many degrees of freedom make the Student-t weight Gaussian, at a known rate (spec §3)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import strategies as st

from afa_conformance.closeness import EPS
from afa_conformance.descriptions import FORMS, Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.numerics import slope
from afa_conformance.runner import run_attention
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject
from afa_core import Gaussian, StudentT

DOFS = (1e3, 1e4, 1e5)


@pytest.mark.needs("library", "float64")
@drawn(seed=st.integers(0, 2**32 - 1), modes=st.integers(1, 8))
def test_rate_of_the_weight(subject: Subject, seed: int, modes: int) -> None:
    """Spec §3: as ν_s → ∞, ν_s (log w_t − log w_G) → (m/d)²/2 − m/d.

    At ν_s = 1e6, to the next order, 1e-4, and roundings of the difference.
    """
    distance = modes * np.random.default_rng(seed).uniform(0.1, 4.0, 8)
    sent = subject.from_numpy(distance)
    student, gaussian = (
        np.asarray(subject.to_numpy(weighting.log_weight(sent, modes)))
        for weighting in (StudentT(1e6), Gaussian())
    )
    x = distance / modes
    # next order (x²/2 and x³/3 over ν_s), and roundings of the difference
    subject.assert_close(1e6 * (student - gaussian), x**2 / 2 - x, 1e-4 + 1e6 * 32 * EPS, scale=8.0)


@pytest.mark.asserts
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.fewer_examples(3)
@drawn(
    description=descriptions(
        dtype="float64",
        weighting="student",
        masked=False,
        leading=(),
        sharing="numbers",
        queries=4,
        keys=4,
        temperature="one",
    )
)
def test_slope_of_the_estimate(subject: Subject, form: str, description: Description) -> None:
    """Spec §3, §13: the estimate approaches the Gaussian one like ν_s⁻¹: exponent −1 to 0.02."""
    problem = sample_problem(description.having(form=form))
    limit = run_attention(replace(problem, weighting=Gaussian()), subject)
    errors = [
        float(
            np.max(
                np.abs(run_attention(replace(problem, weighting=StudentT(dof)), subject) - limit)
            )
        )
        for dof in DOFS
    ]
    assert abs(slope(DOFS, errors) + 1.0) < 0.02
