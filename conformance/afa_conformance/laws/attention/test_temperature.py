"""The inverse temperature is a power of the weights (spec §1, §4)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.problems import weights_condition
from afa_conformance.runner import applied_weights, key_axis, parts, run_attention, run_estimate
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject


@drawn(description=descriptions(temperature=["number", "array"]))
def test_weights_are_powers(subject: Subject, description: Description) -> None:
    """Spec §13: A_β ∝ A₁^β: β multiplies the whole logit, prior and robust weight alike.

    Absolute error at most 8 ε times the condition of the weights.
    """
    problem = sample_problem(description)
    power = np.asarray(problem.inverse_temperature)
    power = power[(..., *(None,) * (3 if description.form == "diagonal" else 2))]
    weights = parts(applied_weights(problem, subject))
    weights_at_one = parts(applied_weights(replace(problem, inverse_temperature=1.0), subject))
    for got, one in zip(weights, weights_at_one, strict=True):
        raised = np.where(one > 0.0, one**power, 0.0)
        total = np.sum(raised, axis=key_axis(problem), keepdims=True)
        expected = raised / np.where(total > 0.0, total, 1.0)
        subject.assert_close(got, expected, 8 * problem.eps * weights_condition(problem), scale=1.0)


@pytest.mark.needs("precision")
@drawn(description=descriptions(correlated=[False, True], temperature=["number", "array"]))
def test_precision_does_not_depend_on_temperature(
    subject: Subject, description: Description
) -> None:
    """Spec §10: p = Σ_j w_ij/Σ_ij is defined at β = 1 and does not change with β, to 8 ε."""
    problem = sample_problem(description)
    _, precision = run_estimate(problem, subject)
    _, precision_at_one = run_estimate(replace(problem, inverse_temperature=1.0), subject)
    for got, expected in zip(parts(precision), parts(precision_at_one), strict=True):
        subject.assert_close(got, np.broadcast_to(expected, got.shape), 8 * problem.eps)


@drawn(description=descriptions(masked=False))
def test_infinite_temperature_is_uniform(subject: Subject, description: Description) -> None:
    """Spec §4: β = 0 weighs all visible keys alike, to 4 ε times the condition of the weights."""
    problem = replace(sample_problem(description), inverse_temperature=0.0)
    for weights in parts(applied_weights(problem, subject)):
        count = np.sum(weights > 0.0, axis=key_axis(problem), keepdims=True)
        expected = np.where(weights > 0.0, 1.0 / np.maximum(count, 1), 0.0)
        subject.assert_close(weights, expected, 4 * problem.eps * weights_condition(problem))
    assert np.all(np.isfinite(run_attention(problem, subject)))
