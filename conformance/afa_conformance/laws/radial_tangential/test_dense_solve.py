"""The projected form solves the dense equations (spec §6)."""

from __future__ import annotations

import numpy as np

from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.oracles.covariances import residual_covariance
from afa_conformance.oracles.directions import directional_covariance
from afa_conformance.oracles.weights import log_weight
from afa_conformance.problems import completed, condition, lags, visibility
from afa_conformance.runner import run_estimate
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject


@drawn(
    description=descriptions(
        form="radial_tangential", leading=(), sharing="each", temperature="one", masked=False,
        noise="ordinary", decay="ordinary", queries=4, keys=4,
    )
)  # fmt: skip
def test_dense_solve(subject: Subject, description: Description) -> None:
    """Equation (6.2) is (3.1), x̂ = (Σ_j wΣ⁻¹)⁻¹ Σ_j wΣ⁻¹ e^{ΛΔ}v_j, with dense matrices Σ_ij.

    Estimate and precision, to 32 ε times the condition of the problem.
    """
    problem = completed(sample_problem(description))
    sde, lag, visible = problem.sde, lags(problem), visibility(problem)
    radial, tangential = (residual_covariance(lag, sde.decay, noise) for noise in sde[2:4])
    mean, precision = run_estimate(problem, subject)
    for i in range(4):
        information = np.zeros((problem.value_modes,) * 2, dtype=complex)
        numerator = np.zeros(problem.value_modes, dtype=complex)
        for j in np.flatnonzero(visible[i]):
            components = float(radial[i, j]), float(tangential[i, j])
            decay_factor, angle = np.exp(-sde.decay * abs(lag[i, j])), 1j * lag[i, j]
            residual = (
                problem.query[i] - decay_factor * np.exp(angle * sde.frequency) * problem.key[j]
            )
            covariance = directional_covariance(problem.query[i], *components)
            distance = float((residual.conj() @ np.linalg.solve(covariance, residual)).real)
            weight = np.exp(log_weight(problem.weighting, distance, problem.modes))
            pair_information = weight * np.linalg.inv(
                directional_covariance(problem.anchor[i], *components)
            )
            propagated = decay_factor * np.exp(angle * sde.value_frequency) * problem.value[j]
            information, numerator = (
                information + pair_information,
                numerator + pair_information @ propagated,
            )
        tolerance = 32 * problem.eps * condition(problem)
        subject.assert_close(mean[i], np.linalg.solve(information, numerator), tolerance)
        if precision is not None:
            precisions = precision.radial[i], precision.tangential[i]
            found = directional_covariance(problem.anchor[i], *precisions)
            subject.assert_close(found, information, tolerance)
