"""The expanded residual equals the direct one, and is never negative (spec §4)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import strategies as st

from afa_conformance.descriptions import FORMS, Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.numerics import complex_normal
from afa_conformance.oracles.double_sum import double_sum
from afa_conformance.runner import parts, run_estimate
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject

ONE_PAIR = descriptions(
    queries=1, keys=1, leading=(), times="default", decay="ordinary",
    weighting=["student", "gaussian", "rational"], noise="ordinary", masked=False, anchored=False,
    dtype=["float64", "float32", "bfloat16"],
)  # fmt: skip


@pytest.mark.asserts
@pytest.mark.needs("precision")
@pytest.mark.parametrize("form", FORMS)
@drawn(description=ONE_PAIR, size=st.sampled_from((1.0, 1e3, 1e6, 1e8)))
def test_residual_is_never_negative(
    subject: Subject, form: str, description: Description, size: float
) -> None:
    """Spec §3, §4: ρ = ‖q − e^{ΛΔ}k‖² ≥ 0, so the precision of a pair is at most 1/Σ.

    With a margin of 64 ε, at q = k of size up to 1e8: expanded, ρ is a difference of numbers of
    that size squared, and rounds below zero unless it is clamped.
    """
    batch = description.having(form=form, leading=(64,), modes=3, value_modes=3, sharing="numbers")
    problem = sample_problem(batch)
    problem = replace(problem, query=size * problem.query, key=size * problem.query)
    _, precision = run_estimate(problem, subject)
    zeros = np.zeros_like(problem.query)
    _, bound = run_estimate(replace(problem, query=zeros, key=zeros), subject)
    for got, most in zip(parts(precision), parts(bound), strict=True):
        assert np.all(got <= most * (1.0 + 64 * problem.eps))  # an eighth power rounds often


@pytest.mark.needs("precision")
@pytest.mark.parametrize("form", FORMS)
@drawn(description=ONE_PAIR)
def test_expansion_error_is_bounded_by_the_condition(
    subject: Subject, form: str, description: Description
) -> None:
    """Spec §4: the expanded ρ equals ‖q − e^{ΛΔ}k‖² to roundings of (‖q‖ + ‖k‖)²/(dΣ).

    Measured on log p; absolute error at most 8 ε (1 + 16‖q‖² + 16).
    """
    problem = sample_problem(description.having(form=form))
    rng = np.random.default_rng(description.seed)
    near = 30.0 * problem.query + complex_normal(rng, problem.query.shape)
    problem = replace(problem, query=30.0 * problem.query, key=near)
    exact = double_sum(problem)
    _, precision = run_estimate(problem, subject)
    norm2 = 4.0 * float(np.linalg.norm(problem.query)) ** 2 + 4.0
    for got, expected in zip(parts(precision), parts(exact.precision), strict=True):
        # the smallest Σ is 0.6, the largest slope of log w in m/d is 2
        subject.assert_close(
            np.log(got), np.log(expected), 8 * problem.eps * (1.0 + 4.0 * norm2), scale=1.0
        )
