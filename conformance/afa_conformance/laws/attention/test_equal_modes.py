"""The diagonal form contains the isotropic one (spec §5)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.problems import condition, weights_condition
from afa_conformance.runner import applied_weights, run_estimate
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject
from afa_core import DiagonalSDE, Noise


@drawn(description=descriptions(form="isotropic", rotation="shared", modes=2, value_modes=2))
def test_equal_modes(subject: Subject, description: Description) -> None:
    """Spec §5: with equal modes, estimate, precision and weights equal those of §4.

    Estimate and precision to 8 ε times the condition of the problem, weights to 8 ε times their
    own.
    """
    problem = sample_problem(description)

    def per_mode(x: Any) -> Any:
        return x if np.ndim(x) == 0 else np.repeat(x[..., None], 2, axis=-1)

    sde = problem.sde
    noise = Noise(*(per_mode(x) for x in sde.noise))
    diagonal = replace(problem, sde=DiagonalSDE(per_mode(sde.decay), sde.frequency, noise))
    mean, precision = run_estimate(problem, subject)
    diagonal_mean, diagonal_precision = run_estimate(diagonal, subject)
    tolerance = 8 * problem.eps * condition(problem)
    subject.assert_close(diagonal_mean, mean, tolerance)
    if precision is not None:
        repeated = np.repeat(precision[..., None], 2, axis=-1)
        subject.assert_close(diagonal_precision, repeated, tolerance)
    weights = np.repeat(applied_weights(problem, subject)[..., None], 2, axis=-1)
    tolerance = 8 * problem.eps * weights_condition(problem)
    subject.assert_close(applied_weights(diagonal, subject), weights, tolerance)
