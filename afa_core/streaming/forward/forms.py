"""The tiles of each form."""

from __future__ import annotations

from afa_core.model.sde import SDE, DiagonalSDE, IsotropicSDE, RadialTangentialSDE
from afa_core.streaming.forward.diagonal import Diagonal
from afa_core.streaming.forward.isotropic import Isotropic
from afa_core.streaming.forward.radial_tangential import RadialTangential

Form = Isotropic | RadialTangential | Diagonal
FORMS: dict[type[SDE], type[Form]] = {
    IsotropicSDE: Isotropic,
    RadialTangentialSDE: RadialTangential,
    DiagonalSDE: Diagonal,
}
