"""Weights minimise the free energy of their logits (spec §4, §13)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.oracles.covariances import residual_covariance
from afa_conformance.oracles.weights import log_weight
from afa_conformance.problems import DrawnProblem, completed, lags, visibility, weights_condition
from afa_conformance.runner import applied_weights
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject


def direct_logits(problem: DrawnProblem) -> NDArray[Any]:
    """Return L_ij = −log Σ + log w(‖r‖²/Σ) of the isotropic form from the residual itself."""
    sde, lag = problem.sde, lags(problem)
    transition = np.exp(-sde.decay * np.abs(lag)[..., None] + 1j * lag[..., None] * sde.frequency)
    residual = problem.query[:, None, :] - transition * problem.key[None, :, :]
    sigma = residual_covariance(lag, sde.decay, sde.noise)
    distance = np.sum(np.abs(residual) ** 2, axis=-1) / sigma
    return np.asarray(log_weight(problem.weighting, distance, problem.modes) - np.log(sigma))


def free_energy(weights: NDArray[Any], logits: NDArray[Any], beta: float) -> NDArray[Any]:
    """Return −Σ A L + β⁻¹ Σ A log A of every row."""
    entropy = np.sum(weights * np.log(np.where(weights > 0.0, weights, 1.0)), axis=-1)
    return np.asarray(entropy / beta - np.sum(weights * logits, axis=-1))


@drawn(
    description=descriptions(
        form="isotropic", leading=(), causal=True, masked=False, temperature=["one", "number"],
        queries=4, keys=4,
    )
)  # fmt: skip
def test_softmax_is_the_gibbs_minimiser(subject: Subject, description: Description) -> None:
    """Spec §13: A minimises −Σ A L + β⁻¹ Σ A log A on the simplex; the minimum is −β⁻¹ log Z.

    To 80 ε/β times the condition of the weights; no random perturbation is lower.
    """
    problem = completed(sample_problem(description))
    weights, logits = applied_weights(problem, subject), direct_logits(problem)
    beta, visible = float(problem.inverse_temperature), visibility(problem)
    logits = np.where(visible, logits, 0.0)
    least = free_energy(weights, logits, beta)
    partition = np.sum(np.where(visible, np.exp(beta * logits), 0.0), axis=-1)
    rounding = 8 * problem.eps * weights_condition(problem) / beta
    subject.assert_close(least, -np.log(partition) / beta, rounding, scale=10.0)
    rng = np.random.default_rng(description.seed)
    for size in (1e-3, 0.1, 1.0):
        other = np.where(visible, weights * np.exp(size * rng.normal(size=weights.shape)), 0.0)
        other = other / np.sum(other, axis=-1, keepdims=True)
        assert np.all(free_energy(other, logits, beta) >= least - 10.0 * rounding)
