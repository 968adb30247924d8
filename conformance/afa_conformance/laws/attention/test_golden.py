"""Attention reproduces the golden vectors (spec §3–§6)."""

from __future__ import annotations

import pytest

from afa_conformance.comparisons import assert_estimate, assert_per_form
from afa_conformance.oracles import golden
from afa_conformance.problems import condition, in_dtype, weights_condition
from afa_conformance.runner import applied_weights, as_interleaved, run_estimate
from afa_conformance.subject import Subject

GOLDEN = golden.read()


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_vectors(subject: Subject, name: str) -> None:
    """Equation (3.1): mean, precision and weights of `oracles/golden.json`.

    To 4 ε times the condition of the problem; weights to an absolute error of 4 ε times their own.
    """
    problem, exact = GOLDEN[name]
    problem = in_dtype(problem, subject.dtype)
    if not subject.complex:
        problem = as_interleaved(problem)
    tolerance = 4 * problem.eps * condition(problem)
    expected = exact.mean, exact.precision
    assert_estimate(run_estimate(problem, subject), expected, tolerance, subject)
    tolerance = 4 * problem.eps * weights_condition(problem)
    weights = applied_weights(problem, subject)
    assert_per_form(weights, exact.weights, tolerance, subject, scale=1.0)
