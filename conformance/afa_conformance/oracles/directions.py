"""The dense matrices of spec §6: the projector on a direction, covariances along and across it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def projector(direction: NDArray[Any]) -> NDArray[Any]:
    """Return P_∥ = u u† for u along the direction, zero if it is zero."""
    length = np.linalg.norm(direction)
    unit = direction / length if length else 0.0 * direction
    return np.asarray(np.outer(unit, unit.conj()))


def directional_covariance(
    direction: NDArray[Any], radial: float, tangential: float
) -> NDArray[Any]:
    """Return the matrix v_t P_⊥ + v_r P_∥ of equation (6.1)."""
    parallel = projector(direction)
    return np.asarray(tangential * (np.eye(len(direction)) - parallel) + radial * parallel)
