"""Results do not depend on the unit of time and follow the unit of values (spec §1)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from afa_conformance.comparisons import assert_estimate
from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.problems import completed, condition, leaves, with_leaves
from afa_conformance.runner import parts, run_estimate
from afa_conformance.sampling import is_variance, sample_problem
from afa_conformance.subject import Subject


@pytest.mark.parametrize("unit", [60.0, 1e-3])
@drawn(description=descriptions(correlated=[False, True]))
def test_unit_of_time(subject: Subject, unit: float, description: Description) -> None:
    """Spec §13: times by 1/c with μ, ω and σ² by c leave estimate and precision unchanged.

    To 16 ε times the condition of the problem.
    """
    problem = completed(sample_problem(description))
    rates = {
        name: x * unit
        for name, x in leaves(problem).items()
        if name.rpartition(".")[2] in ("decay", "frequency", "value_frequency", "process")
    }
    changed = replace(
        with_leaves(problem, rates),
        query_times=problem.query_times / unit,
        key_times=problem.key_times / unit,
    )
    expected, found = run_estimate(problem, subject), run_estimate(changed, subject)
    assert_estimate(found, expected, 16 * problem.eps * condition(problem), subject)


@pytest.mark.parametrize("unit", [1000.0, 1e-3])
@drawn(description=descriptions(correlated=[False, True], query_variance=[False, True]))
def test_unit_of_values(subject: Subject, unit: float, description: Description) -> None:
    """Spec §13: q, k, v by c and variances by c² give x̂ by c, and precision by 1/c².

    To 16 ε times the condition of the problem.
    """
    problem = completed(sample_problem(description))
    scaled = {name: x * unit**2 for name, x in leaves(problem).items() if is_variance(name)}
    scaled |= {
        name: unit * np.asarray(getattr(problem, name)) for name in ("query", "key", "value")
    }
    changed = with_leaves(problem, scaled)
    (mean, precision), (other_mean, other_precision) = (
        run_estimate(problem, subject),
        run_estimate(changed, subject),
    )
    tolerance = 16 * problem.eps * condition(problem)
    subject.assert_close(other_mean / unit, mean, tolerance)
    for got, expected in zip(parts(other_precision), parts(precision), strict=True):
        subject.assert_close(got * unit**2, expected, tolerance)
