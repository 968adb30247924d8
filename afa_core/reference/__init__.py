"""The specification as code: every pair materialised, one file a form, no tricks."""

from __future__ import annotations

from afa_core._array.arrays import Namespace
from afa_core._checks.problem import Problem
from afa_core.model.sde import DiagonalSDE, IsotropicSDE, RadialTangentialSDE
from afa_core.reference.diagonal import diagonal
from afa_core.reference.isotropic import isotropic
from afa_core.reference.radial_tangential import radial_tangential
from afa_core.reference.result import Materialised

__all__ = ["Materialised", "materialise"]

FORMS = {
    IsotropicSDE: isotropic,
    DiagonalSDE: diagonal,
    RadialTangentialSDE: radial_tangential,
}


def materialise(problem: Problem, *, xp: Namespace) -> Materialised:
    """Evaluate the form that the type of the SDE names."""
    return FORMS[type(problem.sde)](problem, xp=xp)
