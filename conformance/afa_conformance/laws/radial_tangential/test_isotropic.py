"""Equal noise along and across the anchor is isotropic noise (spec §6)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from afa_conformance.descriptions import Description
from afa_conformance.drawing import descriptions, drawn
from afa_conformance.problems import completed, condition, weights_condition
from afa_conformance.runner import applied_weights, parts, run_estimate
from afa_conformance.sampling import sample_problem
from afa_conformance.subject import Subject
from afa_core import IsotropicSDE


@drawn(description=descriptions(form="radial_tangential"))
def test_equal_sides(subject: Subject, description: Description) -> None:
    """Spec §6: v_r = v_t gives §4: estimate, precision and weights, whatever the anchor.

    To 8 ε times the condition of the problem.
    """
    problem = completed(sample_problem(description))
    sde = problem.sde._replace(radial_noise=problem.sde.tangential_noise)
    equal = replace(problem, sde=sde)
    plain = IsotropicSDE(sde.decay, sde.frequency, sde.tangential_noise, sde.value_frequency)
    isotropic = replace(problem, sde=plain, anchor=None)
    mean, precision = run_estimate(isotropic, subject)
    equal_mean, equal_precision = run_estimate(equal, subject)
    tolerance = 8 * problem.eps * condition(problem)
    subject.assert_close(equal_mean, np.broadcast_to(mean, equal_mean.shape), tolerance)
    weights = applied_weights(isotropic, subject)
    for component in parts(equal_precision):
        subject.assert_close(component, precision, tolerance)
    for own in applied_weights(equal, subject):
        subject.assert_close(own, weights, 8 * problem.eps * weights_condition(problem))
