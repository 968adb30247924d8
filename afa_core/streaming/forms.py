"""The forms that run over tiles, each forward and back."""

from __future__ import annotations

from typing import Any

from afa_core.model.sde import DiagonalSDE, IsotropicSDE, RadialTangentialSDE
from afa_core.streaming.backward.diagonal import DiagonalBack
from afa_core.streaming.backward.isotropic import IsotropicBack
from afa_core.streaming.backward.radial_tangential import RadialTangentialBack
from afa_core.streaming.forward.diagonal import Diagonal
from afa_core.streaming.forward.isotropic import Isotropic
from afa_core.streaming.forward.radial_tangential import RadialTangential

Form = Isotropic | RadialTangential | Diagonal
FORMS: dict[type[Any], type[Form]] = {
    IsotropicSDE: Isotropic,
    RadialTangentialSDE: RadialTangential,
    DiagonalSDE: Diagonal,
}
BACK: dict[type[Any], Any] = {
    IsotropicSDE: IsotropicBack,
    RadialTangentialSDE: RadialTangentialBack,
    DiagonalSDE: DiagonalBack,
}
"""How to go back through the tiles of a form."""
