"""The forms that run over tiles, each forward and back."""

from __future__ import annotations

from typing import Any

from afa_core.sde import DiagonalSDE, IsotropicSDE, RadialTangentialSDE
from afa_core.streaming.diagonal import Diagonal
from afa_core.streaming.diagonal_backward import DiagonalBack
from afa_core.streaming.isotropic import Isotropic
from afa_core.streaming.isotropic_backward import IsotropicBack
from afa_core.streaming.radial_tangential import RadialTangential
from afa_core.streaming.radial_tangential_backward import RadialTangentialBack

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
