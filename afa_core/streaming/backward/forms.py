"""The gradients of the tiles of each form."""

from __future__ import annotations

from afa_core.model.sde import SDE, DiagonalSDE, IsotropicSDE, RadialTangentialSDE
from afa_core.streaming.backward.diagonal import DiagonalBackward
from afa_core.streaming.backward.isotropic import IsotropicBackward
from afa_core.streaming.backward.radial_tangential import RadialTangentialBackward

FormBackward = IsotropicBackward | RadialTangentialBackward | DiagonalBackward
BACKWARD: dict[type[SDE], type[FormBackward]] = {
    IsotropicSDE: IsotropicBackward,
    RadialTangentialSDE: RadialTangentialBackward,
    DiagonalSDE: DiagonalBackward,
}
