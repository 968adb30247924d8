"""The robust weights of spec §3 in double precision."""

from __future__ import annotations

from typing import Any

import numpy as np

from afa_core import Gaussian, Rational, StudentT


def log_weight(weighting: Any, distance: Any, modes: int) -> Any:
    """Return log w(m); parameters of the weighting broadcast against the distance."""
    if isinstance(weighting, StudentT):
        dof = np.asarray(weighting.dof)
        return -(dof + 1.0) * np.log1p(distance / (dof * modes))
    if isinstance(weighting, Rational):
        return -np.log1p(distance / (np.asarray(weighting.dof) * modes))
    return -distance / modes if isinstance(weighting, Gaussian) else 0.0 * distance
