"""Correlated keys on both sides of a query give the exact smoother (spec §14)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from afa_conformance.comparisons import assert_estimate, assert_per_form
from afa_conformance.descriptions import FORMS, Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.functionals import differentiable
from afa_conformance.laws.attention.test_permutation import with_keys_in_order
from afa_conformance.laws.weights.test_gradients import SMOOTH, assert_gradients
from afa_conformance.oracles.double_sum import double_sum
from afa_conformance.problems import DrawnProblem, completed, condition
from afa_conformance.runner import parts, run_attention, run_estimate
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject

SMOOTHED = descriptions(
    correlated=True, causal=False, form="isotropic", weighting="uniform", temperature="one",
    leading=(), sharing="each", decay="ordinary", noise=["ordinary", "no query"], masked=False,
    times=["irregular", "tied"], queries=40, keys=40, modes=1, value_modes=1, rotation="off",
    dtype="float64",
)  # fmt: skip


def conditional(problem: DrawnProblem) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return mean and variance of the stationary process given its measurements, densely."""
    decay, noise = float(problem.sde.decay), problem.sde.noise
    stationary = float(noise.process) / (2.0 * decay)

    def shared(one: Any, other: Any) -> NDArray[Any]:
        lags = np.abs(np.asarray(one)[:, None] - np.asarray(other)[None, :])
        return np.asarray(stationary * np.exp(-decay * lags))

    keys, queries = problem.key_times, problem.query_times
    covariance = shared(keys, keys) + float(noise.measurement) * np.eye(len(keys))
    between = shared(queries, keys)
    weights = np.linalg.solve(covariance, between.T).T
    return weights @ problem.value, stationary - np.sum(weights * between, axis=-1)


@pytest.mark.fewer_examples(2)
@drawn(description=SMOOTHED)
def test_mean_and_variance(subject: Subject, description: Description) -> None:
    """Spec §14: with w = 1, mean and 1/precision are those of the stationary process, to 1e-10.

    For queries at keys, between them and beyond them, by dense algebra.
    """
    problem = completed(sample_problem(description))
    rng = np.random.default_rng(description.seed)
    elsewhere = rng.uniform(problem.key_times[0] - 2.0, problem.key_times[-1] + 2.0, 20)
    times = np.concatenate([problem.key_times[:20], elsewhere])
    problem = replace(problem, query_times=times)
    mean, precision = run_estimate(problem, subject)
    expected, variance = conditional(problem)
    subject.assert_close(mean, expected, 1e-10)
    for each in parts(precision):
        subject.assert_close(1.0 / each, variance, 1e-10)


@pytest.mark.needs("precision")
@drawn(
    description=descriptions(
        correlated=True, causal=False, decay="ordinary", noise="ordinary", weighting="rational",
        form="isotropic", temperature="one",
    )
)  # fmt: skip
def test_robust_estimate(subject: Subject, description: Description) -> None:
    """Spec §14: max(1 − Σ a, 0) is the weight of the prior's mean, zero, beside those of the keys.

    With rational weights, against 50 digits, to 8 ε times the condition of the problem.
    """
    problem = sample_problem(description)
    mean, precision = run_estimate(problem, subject)
    exact = double_sum(problem)
    tolerance = 8 * problem.eps * condition(problem)
    subject.assert_close(mean, exact.mean, tolerance)
    assert_per_form(precision, exact.precision, tolerance, subject)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.fewer_examples(4)
@drawn(
    description=descriptions(
        form=None, correlated=True, causal=False, masked=False, queries=[4, 5, 7], keys=[1, 2],
        times="default",
    )
)  # fmt: skip
def test_more_queries_than_keys(subject: Subject, form: str, description: Description) -> None:
    """Spec §14: a key at the time of a query is of its past, beside queries before all keys too.

    Mean and precision, to 8 ε times the condition of the problem.
    """
    problem = sample_problem(description.having(form=form))
    exact, tolerance = double_sum(problem), 8 * problem.eps * condition(problem)
    assert_estimate(
        run_estimate(problem, subject), (exact.mean, exact.precision), tolerance, subject
    )


@drawn(description=descriptions(correlated=True, causal=False, masked=[False, True]))
def test_order_of_keys(subject: Subject, description: Description) -> None:
    """Spec §14: keys need not be in the order of their times: they are sorted, those tied stably.

    Permuted with values, times and mask they give the same, to 16 ε times the condition.
    """
    problem = completed(sample_problem(description))
    order = np.random.default_rng(description.seed).permutation(problem.key.shape[-2])
    permuted = with_keys_in_order(problem, order)
    tolerance = 16 * problem.eps * condition(problem)
    expected = run_estimate(problem, subject)
    assert_estimate(run_estimate(permuted, subject), expected, tolerance, subject)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.fewer_examples(5)
@drawn(
    description=descriptions(
        correlated=True, causal=False, form=None, weighting="gaussian", temperature="one",
        leading=(), noise="no measurement", size="distant", times=["regular", "irregular"],
        queries=4, keys=4, dtype=["float64", "float32"],
    )
)  # fmt: skip
def test_keys_without_noise(subject: Subject, form: str, description: Description) -> None:
    """Spec §14: a key with η² = 0 is all that counts at its time, however far the query is.

    To 16 ε times the condition of the problem.
    """
    problem = sample_problem(description.having(form=form))
    exact = double_sum(problem).mean
    tolerance = 16 * problem.eps * condition(problem)
    subject.assert_close(run_attention(problem, subject), exact, tolerance)


@pytest.mark.many_shapes
@pytest.mark.needs("gradients")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.fewer_examples(3)
@drawn(description=SMOOTH)
def test_gradients(subject: Subject, form: str, description: Description) -> None:
    """Spec §13, §14: derivatives by tokens, times and parameters equal 50-digit differences.

    To 4096 ε times the condition of the problem.
    """
    description = description.having(form=form, correlated=True, causal=False)
    assert_gradients(description, differentiable(description), subject)


@pytest.mark.many_shapes
@pytest.mark.needs("gradients")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.fewer_examples(3)
@drawn(description=SMOOTH)
def test_gradients_without_decay(subject: Subject, form: str, description: Description) -> None:
    """Spec §14: at μ = 0, where S = 1, uniform weights have the derivatives of the smoother.

    There both maxima of (14.4) have a kink, which cancels at β = 1. By 50-digit differences, to
    4096 ε times the condition of the problem.
    """
    description = description.having(form=form, correlated=True, causal=False)
    description = description.having(decay="zero", weighting="uniform", temperature="one")
    assert_gradients(description, differentiable(description), subject)
