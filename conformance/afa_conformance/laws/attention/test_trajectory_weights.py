"""On a noiseless trajectory the weights are the prior precisions (spec §7.5)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.oracles.covariances import residual_covariance
from afa_conformance.problems import completed, lags, visibility, weights_condition
from afa_conformance.runner import applied_weights, key_axis, parts
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject
from afa_conformance.trajectories import trajectory


@drawn(description=descriptions(causal=True, decay=["ordinary", "zero", "slow"]))
def test_weights_are_precisions(subject: Subject, description: Description) -> None:
    """Spec §7.5: q = k = e^{Λt}x₀ makes every residual zero, so A ∝ Σ^{−β}.

    Absolute error at most 8 ε times the condition of the weights.
    """
    problem = completed(sample_problem(description))
    query, key = trajectory(problem)
    problem = replace(problem, query=query, key=key)
    sde, per_mode = problem.sde, description.form == "diagonal"
    noises = list(sde[2:4]) if description.form == "radial_tangential" else [sde.noise]
    lag, visible = lags(problem), visibility(problem)
    if per_mode:
        lag, visible = lag[..., None], visible[..., None]

    def per_pair(x: object) -> np.ndarray:
        """Insert the axes of queries and keys."""
        array = np.asarray(x)
        if not array.ndim:
            return array
        return array[..., None, None, :] if per_mode else array[..., None, None]

    beta = np.asarray(problem.inverse_temperature)[(..., *(None,) * (2 + per_mode))]
    got = parts(applied_weights(problem, subject))
    for weights, noise in zip(got, noises, strict=True):
        sigma = residual_covariance(lag, per_pair(sde.decay), [per_pair(x) for x in noise])
        prior = np.where(visible, sigma**-beta, 0.0)
        total = np.sum(prior, axis=key_axis(problem), keepdims=True)
        expected = np.broadcast_to(prior / np.where(total > 0.0, total, 1.0), weights.shape)
        subject.assert_close(
            weights, expected, 8 * problem.eps * weights_condition(problem), scale=1.0
        )
