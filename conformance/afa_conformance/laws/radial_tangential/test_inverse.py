"""Inverse, determinant and spectrum of a rank-one covariance (spec §6)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.oracles.covariances import residual_covariance
from afa_conformance.oracles.directions import directional_covariance
from afa_conformance.oracles.weights import log_weight
from afa_conformance.problems import DrawnProblem, completed, condition
from afa_conformance.runner import run_estimate
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject

LAG = 1.25
PAIR = descriptions(
    form="radial_tangential", queries=1, keys=1, modes=3, value_modes=3, leading=(),
    sharing="each", noise="ordinary", decay="ordinary", masked=False, anchored=True,
    temperature="one", weighting=["student", "gaussian", "rational"],
)  # fmt: skip


def pair(description: Description) -> DrawnProblem:
    problem = completed(sample_problem(description))
    return replace(problem, query_times=np.asarray([LAG]), key_times=np.asarray([0.0]))


def variances(problem: DrawnProblem) -> tuple[float, float]:
    """Return v_r and v_t of the pair, from NumPy."""
    sde = problem.sde
    radial, tangential = (float(residual_covariance(LAG, sde.decay, noise)) for noise in sde[2:4])
    return radial, tangential


@pytest.mark.needs("precision")
@drawn(description=PAIR)
def test_inverse_and_distance(subject: Subject, description: Description) -> None:
    """Spec §6: p_r P_∥ + p_t P_⊥ = wΣ⁻¹ with a dense inverse, and m = r†Σ⁻¹r by a dense solve.

    To 32 ε times the condition of the problem.
    """
    problem = pair(description)
    rates = -problem.sde.decay + 1j * problem.sde.frequency
    residual = problem.query[0] - np.exp(rates * LAG) * problem.key[0]
    covariance = directional_covariance(problem.query[0], *variances(problem))
    distance = float((residual.conj() @ np.linalg.solve(covariance, residual)).real)
    weight = float(np.exp(log_weight(problem.weighting, distance, 3)))
    _, precision = run_estimate(problem, subject)
    information = directional_covariance(
        problem.anchor[0], precision.radial[0], precision.tangential[0]
    )
    dense = weight * np.linalg.inv(directional_covariance(problem.anchor[0], *variances(problem)))
    subject.assert_close(information, dense, 32 * problem.eps * condition(problem))


@pytest.mark.needs("precision")
@drawn(description=PAIR)
def test_determinant_and_spectrum(subject: Subject, description: Description) -> None:
    """Spec §6: log det Σ = (d−1) log v_t + log v_r; Σ has eigenvalue v_r once, v_t otherwise.

    To 32 ε times the condition of the problem. At m = 0 the precisions are the inverse eigenvalues.
    """
    problem = pair(description)
    rates = -problem.sde.decay + 1j * problem.sde.frequency
    problem = replace(problem, query=np.exp(rates * LAG) * problem.key)
    dense = directional_covariance(problem.query[0], *variances(problem))
    _, precision = run_estimate(problem, subject)
    inverse = np.asarray([precision.radial[0], *[precision.tangential[0]] * 2])
    tolerance = 32 * problem.eps * condition(problem)
    subject.assert_close(np.sort(1.0 / inverse), np.linalg.eigvalsh(dense), tolerance)
    _, log_determinant = np.linalg.slogdet(dense)
    subject.assert_close(-np.sum(np.log(inverse)), log_determinant, tolerance, scale=3.0)
