"""The anchor is a direction, by default the token's own value (spec §6)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.oracles.double_sum import double_sum
from afa_conformance.problems import completed, condition
from afa_conformance.runner import run_attention, run_estimate
from afa_conformance.sampling import rounded, sample_problem
from afa_conformance.subject import Subject
from afa_core import IsotropicSDE


@drawn(description=descriptions(form="radial_tangential", queries=4, keys=4, anchored=False))
def test_own_value_is_the_default(subject: Subject, description: Description) -> None:
    """Spec §6: `anchor` defaults to the token's own value: the results are equal."""
    problem = sample_problem(description)
    explicit = replace(problem, anchor=problem.value)
    subject.assert_close(run_attention(problem, subject), run_attention(explicit, subject), 0.0)


@drawn(description=descriptions(form="radial_tangential", anchored=True))
def test_only_the_direction_matters(subject: Subject, description: Description) -> None:
    """Spec §6: P_∥ = aa†/‖a‖² depends on neither length nor phase of the anchor, to 32 ε."""
    problem = completed(sample_problem(description))
    scaled = replace(problem, anchor=(300.0 * np.exp(2.1j)) * problem.anchor)
    subject.assert_close(
        run_attention(scaled, subject), run_attention(problem, subject), 32 * problem.eps
    )


@drawn(description=descriptions(form="radial_tangential", anchored=True))
def test_no_direction_is_all_tangential(subject: Subject, description: Description) -> None:
    """Spec §6: u = 0 where the anchor or the query is zero: all noise is then tangential.

    Estimate and tangential precision are those of §4, to 8 ε times the condition of the problem.
    """
    problem = completed(sample_problem(description))
    problem = replace(problem, query=0.0 * problem.query, anchor=0.0 * problem.anchor)
    sde = problem.sde
    plain = IsotropicSDE(sde.decay, sde.frequency, sde.tangential_noise, sde.value_frequency)
    expected, precision = run_estimate(replace(problem, sde=plain, anchor=None), subject)
    mean, components = run_estimate(problem, subject)
    tolerance = 8 * problem.eps * condition(problem)
    subject.assert_close(mean, np.broadcast_to(expected, mean.shape), tolerance)
    if precision is not None:
        subject.assert_close(components.tangential, precision, tolerance)


@pytest.mark.fewer_examples(2)
@drawn(
    description=descriptions(
        form="radial_tangential", leading=(), sharing="each", anchored=True, size="ordinary",
        dtype=["float64", "float32"],
    )
)  # fmt: skip
def test_directions_of_any_length(subject: Subject, description: Description) -> None:
    """Spec §6: u = q/‖q‖ and a/‖a‖ where squares of the lengths underflow, or almost do.

    Equation (6.2) to 8 ε times the condition of the problem.
    """
    problem = completed(sample_problem(description))
    sizes = {"float64": (1e-80, 1e-156, 1e-200), "float32": (1e-10, 1e-20, 1e-30)}
    for tiny in sizes[problem.dtype]:
        small = rounded(
            replace(problem, query=tiny * problem.query, anchor=tiny * problem.anchor),
            problem.dtype,
        )
        tolerance = 8 * problem.eps * condition(small)
        found, expected = run_attention(small, subject), double_sum(small).mean
        subject.assert_close(found, expected, tolerance)
