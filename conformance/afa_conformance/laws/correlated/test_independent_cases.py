"""Where correlated keys are weighted as independent ones (spec §14)."""

from __future__ import annotations

from dataclasses import replace

from afa_conformance.comparisons import assert_estimate
from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.problems import DrawnProblem, condition, leaves, with_leaves
from afa_conformance.runner import run_attention, run_estimate
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject

EVERY = descriptions(
    correlated=True, causal=True, noise="ordinary", decay=["ordinary", "zero", "slow"]
)


def without(problem: DrawnProblem, *names: str) -> DrawnProblem:
    """Return the problem with some parameters zero."""
    zeros = {
        name: 0.0 * x for name, x in leaves(problem).items() if name.rpartition(".")[2] in names
    }
    return with_leaves(problem, zeros)


@drawn(description=EVERY)
def test_errors_in_common_vanish(subject: Subject, description: Description) -> None:
    """Spec §14: at σ² = γ² = 0 estimate and precision are those of independent keys.

    For every weighting and temperature, to 64 ε times the condition of the problem.
    """
    problem = without(sample_problem(description), "process", "query")
    expected = run_estimate(replace(problem, correlated=False), subject)
    tolerance = 64 * problem.eps * condition(problem)
    if description.temperature == "one":
        assert_estimate(run_estimate(problem, subject), expected, tolerance, subject)
    else:
        subject.assert_close(run_attention(problem, subject), expected[0], tolerance)


@drawn(description=EVERY)
def test_constant_state(subject: Subject, description: Description) -> None:
    """Spec §14: at σ² = μ = 0 the estimate is that of independent keys, whatever γ² is.

    To 64 ε times the condition of the problem.
    """
    problem = without(sample_problem(description), "process", "decay")
    expected = run_attention(replace(problem, correlated=False), subject)
    tolerance = 64 * problem.eps * condition(problem)
    subject.assert_close(run_attention(problem, subject), expected, tolerance)
