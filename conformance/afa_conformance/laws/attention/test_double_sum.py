"""Attention is the maximum-likelihood estimate of equation (3.1)."""

from __future__ import annotations

import pytest
from hypothesis import given

from afa_conformance.closeness import EPS, assert_close
from afa_conformance.descriptions import FORMS, WEIGHTINGS, Description, descriptions, fewer
from afa_conformance.oracles.double_sum import double_sum
from afa_conformance.problems import condition
from afa_conformance.realising import realise
from afa_conformance.sending import attention, attention_weights, estimate, parts
from afa_core.backend import Backend


@pytest.mark.parametrize("times", ["regular", "irregular"])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("form", FORMS)
@fewer(6)
@given(
    description=descriptions(
        form=None, weighting=None, causal=None, times=None,
        queries=4, keys=4, leading=(), decay="ordinary", noise="ordinary",
    )
)  # fmt: skip
def test_estimate_is_the_double_sum(
    backend: Backend, form: str, weighting: str, causal: bool, times: str, description: Description
) -> None:
    """Spec §3, equation (3.1), pair by pair in 50 digits: 1e-14 where rounding is not amplified.

    Every form, weighting and kind of time, causal or not.
    """
    problem = realise(
        description.having(form=form, weighting=weighting, causal=causal, times=times)
    )
    assert_close(attention(problem, backend), double_sum(problem).mean, 1e-14)


@given(description=descriptions())
def test_any_regime(backend: Backend, description: Description) -> None:
    """Equation (3.1), the precision of spec §10 and the weights of §4–§6, in every regime.

    To eight roundings times the condition of the problem.
    """
    problem = realise(description)
    exact, tolerance = double_sum(problem), 8 * EPS * condition(problem)
    mean, precision = estimate(problem, backend)
    assert_close(mean, exact.mean, tolerance)
    for got, expected in zip(parts(precision), parts(exact.precision), strict=True):
        assert_close(got, expected, tolerance)
    weights = attention_weights(problem, backend)
    for got, expected in zip(parts(weights), parts(exact.weights), strict=True):
        assert_close(got, expected, tolerance, scale=1.0)
