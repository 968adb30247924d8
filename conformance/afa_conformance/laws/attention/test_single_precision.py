"""Single precision agrees with double precision (spec §8.5)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from afa_conformance.comparisons import assert_estimate
from afa_conformance.descriptions import FORMS, Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.problems import completed, condition, in_dtype, leaves, with_leaves
from afa_conformance.runner import run_attention, run_estimate
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject


@pytest.mark.parametrize("form", FORMS)
@drawn(
    description=descriptions(
        dtype=None,
        queries=4,
        keys=4,
        decay="ordinary",
        noise="ordinary",
        times=["regular", "irregular"],
    )
)
def test_close_to_double(subject: Subject, form: str, description: Description) -> None:
    """Spec §8.5: to 2e-6 of the scale of the output, where rounding is not amplified."""
    problem = sample_problem(description.having(form=form, dtype="float32"))
    double = run_attention(in_dtype(problem, "float64"), subject)
    subject.assert_close(run_attention(problem, subject), double, 2e-6)


@drawn(description=descriptions(dtype=None))
def test_any_regime_in_single(subject: Subject, description: Description) -> None:
    """Spec §8.5: estimate and precision agree with double precision in every regime.

    To 8 ε of single precision times the condition of the problem.
    """
    problem = sample_problem(description.having(dtype="float32"))
    tolerance = 8 * problem.eps * condition(problem)
    double, single = (
        run_estimate(in_dtype(problem, dtype), subject) for dtype in ("float64", "float32")
    )
    assert_estimate(single, double, tolerance, subject)


@pytest.mark.parametrize("form", FORMS)
@drawn(
    description=descriptions(
        dtype=None,
        queries=4, keys=4, leading=(), decay="zero", noise="no process", times="irregular",
        layout=["interleaved", "halves"],
    )
)  # fmt: skip
def test_angles_of_long_lags(subject: Subject, form: str, description: Description) -> None:
    """Spec §8.3: angles ωt are formed in the precision of times, so that ωt of 10⁴ keeps its phase.

    To 8 ε times the condition without frequencies. Formed in single precision, the phase would be
    wrong by ωt roundings, some 10⁻³.
    """
    problem = completed(sample_problem(description.having(form=form, dtype="float32")))
    problem = replace(
        problem, query_times=1e4 * problem.query_times, key_times=1e4 * problem.key_times
    )
    frequencies = {name: x for name, x in leaves(problem).items() if name.endswith("frequency")}
    without_rotation = with_leaves(problem, {name: 0.0 * x for name, x in frequencies.items()})
    tolerance = 8 * problem.eps * condition(without_rotation)
    double = run_attention(in_dtype(problem, "float64"), subject)
    subject.assert_close(run_attention(problem, subject), double, tolerance)
