"""The eigenbasis is a choice of coordinates (spec §1, §5)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example

from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.numerics import complex_normal
from afa_conformance.oracles.dense import DenseSystem, dense_estimate
from afa_conformance.problems import completed, condition
from afa_conformance.runner import run_estimate
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject
from afa_core import StudentT


@pytest.mark.needs("precision")
@drawn(
    description=descriptions(
        form="diagonal", leading=(), sharing="each", times=["regular", "irregular", "tied"],
        queries=4, keys=4, causal=True, masked=False, weighting="student", temperature="one",
        decay=["ordinary", "zero", "slow"],
    )
)  # fmt: skip
@example(
    description=Description(
        form="diagonal", modes=1, value_modes=1, decay="slow", times="irregular", seed=3128856
    )
)
def test_dense_coordinates(subject: Subject, description: Description) -> None:
    """Spec §5: in coordinates S it is (3.1) with dense covariances SΣS†; precision is S⁻†pS⁻¹.

    The dense side uses only A = SΛS⁻¹ and Q, R, Γ = SΛ_•S†. To 64 ε times cond(S)² and the
    condition of the problem.
    """
    problem = completed(sample_problem(description))
    problem = replace(problem, query_times=problem.key_times)
    rng = np.random.default_rng(description.seed)
    basis = complex_normal(rng, (problem.modes, problem.modes)) + 2.0 * np.eye(problem.modes)
    sde, d = problem.sde, problem.modes
    eigenvalues = -sde.decay + 1j * sde.frequency

    def congruent(x: np.ndarray) -> np.ndarray:
        return np.asarray(basis @ np.diag(x * np.ones(d)) @ basis.conj().T)

    system = DenseSystem(
        basis @ np.diag(eigenvalues) @ np.linalg.inv(basis), *(congruent(x) for x in sde.noise)
    )
    assert isinstance(problem.weighting, StudentT)
    dof = float(np.asarray(problem.weighting.dof))
    mean, precision = run_estimate(problem, subject)
    query, key, value = (x @ basis.T for x in (problem.query, problem.key, problem.value))
    expected, information = dense_estimate(
        query,
        key,
        value,
        problem.key_times,
        system,
        lambda m: float((1.0 + m / (dof * d)) ** -(dof + 1.0)),
    )
    tolerance = 64 * problem.eps * np.linalg.cond(basis) ** 2 * condition(problem)
    subject.assert_close(mean @ basis.T, expected, tolerance)
    own = [np.linalg.inv(basis @ np.diag(1.0 / p) @ basis.conj().T) for p in precision]
    subject.assert_close(np.stack(own), np.stack(information), tolerance)
