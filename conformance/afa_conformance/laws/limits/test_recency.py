"""Without decay the prior is logarithmic in the lag, and linear to first order (spec §7.3)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.numerics import slope
from afa_conformance.problems import DrawnProblem, completed, lags
from afa_conformance.runner import applied_weights
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject

UNDAMPED = descriptions(
    form="isotropic", leading=(), sharing="numbers", decay="zero", noise="ordinary",
    weighting="uniform", causal=True, masked=False, temperature="one", queries=4, keys=4,
    dtype="float64",
)  # fmt: skip


def relative_logits(problem: DrawnProblem, subject: Subject) -> np.ndarray:
    """Return log A_ij − log A_i0 of the visible pairs, the others zero."""
    weights = applied_weights(problem, subject)
    logs = np.log(np.where(weights != 0.0, weights, 1.0))
    return np.asarray(np.where(weights != 0.0, logs - logs[:, :1], 0.0))


def against_first(prior: np.ndarray) -> np.ndarray:
    return np.asarray(np.tril(prior - prior[:, :1]))


@drawn(description=UNDAMPED)
def test_logarithmic_recency(subject: Subject, description: Description) -> None:
    """Spec §7.3: at μ = 0, σ² > 0 the prior is −log(1 + σ²Δ/(η²+γ²)).

    Absolute error at most 16 ε.
    """
    problem = completed(sample_problem(description))
    process, measurement, query = problem.sde.noise
    prior = -np.log1p(process * lags(problem).clip(min=0.0) / (measurement + query))
    subject.assert_close(
        relative_logits(problem, subject), against_first(prior), 16 * problem.eps, scale=1.0
    )


@pytest.mark.asserts
@drawn(description=UNDAMPED)
def test_rate_in_the_decay(subject: Subject, description: Description) -> None:
    """Spec §7.3, §2: a small decay changes the prior like μ¹: the exponent is 1 to 0.01."""
    problem = completed(sample_problem(description))
    undamped = relative_logits(problem, subject)
    decays, errors = (1e-6, 1e-5, 1e-4), []
    for decay in decays:
        damped = replace(problem, sde=problem.sde._replace(decay=decay))
        errors.append(float(np.max(np.abs(relative_logits(damped, subject) - undamped))))
    if not errors[0] <= 1e-10:  # equal times leave nothing to compare
        assert abs(slope(decays, errors) - 1.0) < 0.01


@pytest.mark.asserts
@drawn(description=UNDAMPED)
def test_alibi_is_the_first_order(subject: Subject, description: Description) -> None:
    """Spec §7.3: ALiBi, −σ²Δ/(η²+γ²), is the first-order term: the remainder goes like σ⁴.

    The exponent in σ² is 2 to 0.1.
    """
    problem = completed(sample_problem(description))
    _, measurement, query = problem.sde.noise
    lag, processes, errors = lags(problem), (1e-4, 1e-3, 1e-2), []
    for process in processes:
        noise = problem.sde.noise._replace(process=process)
        near = replace(problem, sde=problem.sde._replace(noise=noise))
        linear = against_first(-process * lag / (measurement + query))
        errors.append(float(np.max(np.abs(relative_logits(near, subject) - linear))))
    if not errors[-1] <= 1e-8:
        assert abs(slope(processes, errors) - 2.0) < 0.1
