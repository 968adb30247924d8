"""Compiled attention gives the results of uncompiled attention (spec §8)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from afa_conformance.comparisons import assert_estimate
from afa_conformance.descriptions import FORMS, Description
from afa_conformance.problems import condition, in_arrays
from afa_conformance.runner import run_estimate
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject

CASES: dict[str, dict[str, Any]] = {
    "isotropic": {"masked": True, "times": "irregular", "layout": "interleaved"},
    "diagonal": {"weighting": "gaussian", "temperature": "array", "layout": "halves"},
    "radial_tangential": {"causal": False, "rotation": "own", "layout": "interleaved"},
}
"""In real pairs: torch compiles complex numbers slowly, with a warning."""


@pytest.mark.needs("values")
@pytest.mark.parametrize("form", FORMS)
def test_compiled_is_eager(subject: Subject, form: str) -> None:
    """Spec §8: values are never read, so one compilation serves all arrays of its shapes.

    Two problems of one shape agree with uncompiled results, to 8 ε times the condition of the
    problem: a value read while compiling would return in the second. All parameters are arrays,
    since Python numbers are compiled in.
    """
    if subject.compile(subject.attention) is subject.attention:
        pytest.skip(f"{subject.name} has no compiler")
    eager, compiled = (replace(subject, compiled=each) for each in (False, True))
    for seed in (0, 1):
        description = Description(form=form, seed=seed, dtype=subject.dtype, **CASES[form])
        problem = in_arrays(sample_problem(description))
        found, expected = run_estimate(problem, compiled), run_estimate(problem, eager)
        assert_estimate(found, expected, 8 * problem.eps * condition(problem), subject)
