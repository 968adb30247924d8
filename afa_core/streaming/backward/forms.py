"""The gradients of the tiles of each form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from afa_core.model.sde import SDE, DiagonalSDE, IsotropicSDE, RadialTangentialSDE
from afa_core.streaming.backward.accumulator import GradAccumulator
from afa_core.streaming.backward.diagonal import DiagonalBackward
from afa_core.streaming.backward.isotropic import IsotropicBackward
from afa_core.streaming.backward.radial_tangential import RadialTangentialBackward

FormBackward = IsotropicBackward | RadialTangentialBackward | DiagonalBackward
BACKWARD: dict[type[SDE], Callable[[Any, GradAccumulator], FormBackward]] = {
    IsotropicSDE: IsotropicBackward,
    RadialTangentialSDE: RadialTangentialBackward,
    DiagonalSDE: DiagonalBackward,
}
"""From the tiles of a form and an accumulator to their gradients."""
