"""Attention is the maximum-likelihood estimate of equation (3.1)."""

from __future__ import annotations

import pytest

import afa_core
from afa_conformance.closeness import SPACING
from afa_conformance.comparisons import assert_per_form
from afa_conformance.descriptions import FORMS, SIZES, TIMES, WEIGHTINGS, Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.oracles.double_sum import double_sum
from afa_conformance.problems import condition, weights_condition
from afa_conformance.runner import (
    applied_weights,
    arguments,
    fetch,
    run_attention,
    run_estimate,
    send,
)
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject


@pytest.mark.many_shapes
@pytest.mark.parametrize("times", ["regular", "irregular"])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.fewer_examples(6)
@drawn(
    description=descriptions(
        form=None, weighting=None, causal=None, times=None, dtype="float64",
        queries=4, keys=4, leading=(), decay="ordinary", noise="ordinary",
    )
)  # fmt: skip
def test_estimate_is_the_double_sum(
    subject: Subject, form: str, weighting: str, causal: bool, times: str, description: Description
) -> None:
    """Equation (3.1), x̂_i = (Σ_j wΣ⁻¹)⁻¹ Σ_j wΣ⁻¹ e^{ΛΔ}v_j, pair by pair in 50 digits, to 1e-14.

    Every form, weighting and kind of times, causal or not, where rounding is not amplified.
    """
    problem = sample_problem(
        description.having(form=form, weighting=weighting, causal=causal, times=times)
    )
    subject.assert_close(run_attention(problem, subject), double_sum(problem).mean, 1e-14)


REGIMES = descriptions(
    size=list(SIZES),
    times=list(TIMES),
    correlated=[False, True],
    query_variance=[False, True],
)


@drawn(description=REGIMES)
def test_any_regime(subject: Subject, description: Description) -> None:
    """Equation (3.1), in every regime, to 8 ε times the condition of the problem.

    x̂_i = (Σ_j wΣ⁻¹)⁻¹ Σ_j wΣ⁻¹ e^{ΛΔ}v_j is evaluated pair by pair in 50 digits. In half precision
    ε is that of float32, and the mean is rounded once more (spec §8.5).
    """
    problem = sample_problem(description)
    exact = double_sum(problem).mean
    tolerance = 8 * subject.eps(problem.dtype) * condition(problem)
    subject.assert_close(run_attention(problem, subject), exact, tolerance, rounded=problem.dtype)


@pytest.mark.needs("precision")
@drawn(description=REGIMES)
def test_precision(subject: Subject, description: Description) -> None:
    """Spec §10: p_i = Σ_j w_ij/Σ_ij; per mode in §5, radial and tangential in §6.

    In every regime, against 50 digits, to 8 ε times the condition of the problem; to 1e-9 where
    correlated keys on both sides have no noise, so that logarithms of their influence are 1e6.
    """
    problem = sample_problem(description)
    _, precision = run_estimate(problem, subject)
    tolerance = 8 * subject.eps(problem.dtype) * condition(problem)
    if description.correlated and not description.causal and description.noise == "no measurement":
        tolerance += 1e-9
    assert_per_form(precision, double_sum(problem).precision, tolerance, subject)


@drawn(description=REGIMES)
def test_weights(subject: Subject, description: Description) -> None:
    """Spec §4–§6: the weights applied are A_ij = softmax_j(βL_ij), without the decay of values.

    In every regime, against 50 digits; absolute error at most 8 ε times the condition of the
    weights.
    """
    problem = sample_problem(description)
    weights = applied_weights(problem, subject)
    tolerance = 8 * subject.eps(problem.dtype) * weights_condition(problem)
    exact = double_sum(problem).weights
    assert_per_form(weights, exact, tolerance, subject, scale=1.0, rounded=problem.dtype)


@pytest.mark.needs("library")
@drawn(description=REGIMES)
def test_weights_for_inspection(subject: Subject, description: Description) -> None:
    """Spec §4–§6: `afa_core.attention_weights` returns A_ij = softmax_j(βL_ij).

    In every regime, against 50 digits; absolute error at most 8 ε times the condition of the
    problem, also beside a kernel that rounds what it multiplies.
    """
    problem = sample_problem(description)
    positional, options = arguments(send(problem, subject))
    weights = fetch(afa_core.attention_weights(*positional, **options), subject)
    tolerance = 8 * min(problem.eps, SPACING["float32"]) * condition(problem)
    assert_per_form(weights, double_sum(problem).weights, tolerance, subject, scale=1.0)
