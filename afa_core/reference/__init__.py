"""The specification as code: every pair materialised, one file a form, no tricks."""

from __future__ import annotations

from afa_core.arrays import Namespace
from afa_core.problem import Problem
from afa_core.reference.diagonal import diagonal
from afa_core.reference.isotropic import isotropic
from afa_core.reference.radial_tangential import radial_tangential
from afa_core.reference.result import Materialised
from afa_core.sde import DiagonalSDE, IsotropicSDE, RadialTangentialSDE

__all__ = ["Materialised", "materialise"]

FORMS = {
    IsotropicSDE: isotropic,
    DiagonalSDE: diagonal,
    RadialTangentialSDE: radial_tangential,
}


def materialise(p: Problem, *, xp: Namespace) -> Materialised:
    """Evaluate the form that the type of the SDE names."""
    return FORMS[type(p.sde)](p, xp=xp)
