"""What every reference form returns."""

from __future__ import annotations

from typing import Any, NamedTuple

from afa_core._array.pairs import Pair


class Materialised(NamedTuple):
    """The estimate with its precision and weights, two of each in the radial–tangential form."""

    mean: Pair  # (..., n, d_v)
    precision: Any  # (..., n), or (..., n, d) per mode
    weights: Any  # (..., n, m), or (..., n, m, d) per mode
