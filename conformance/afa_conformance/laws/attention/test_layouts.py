"""Complex arrays and both layouts of real pairs give one result (spec §8.1)."""

from __future__ import annotations

from dataclasses import replace

from afa_conformance.comparisons import assert_per_form
from afa_conformance.descriptions import LAYOUTS, Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.runner import run_estimate
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject


@drawn(description=descriptions(correlated=[False, True]))
def test_layouts_agree(subject: Subject, description: Description) -> None:
    """Spec §8.1: estimate and precision are the same complex, interleaved and in halves, to 4 ε."""
    problem = sample_problem(description)
    first, *others = (run_estimate(replace(problem, layout=each), subject) for each in LAYOUTS)
    for mean, precision in others:
        subject.assert_close(mean, first[0], 4 * problem.eps)
        assert_per_form(precision, first[1], 4 * problem.eps, subject)
