"""Whether measurements determine what is to be fitted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from afa_core.timeseries.innovations import Bools, Floats

MIN_MEASUREMENTS = 3
MIN_SPREAD, MAX_SPREAD = 1e-140, 1e140
"""Of values, whose squares are variances."""


def check_measurements(
    values: NDArray[Any],
    times: Floats,
    observed: Bools,
    fitted: Sequence[str],
    names: Sequence[str],
) -> None:
    """Check the measurements of every series, (s, n); `fitted` are the parameters to fit.

    Raises
    ------
    ValueError
        If there are too few, they are all the same or at the same time, or their variance is out
        of the range of the floating numbers.
    """
    listed = ", ".join(fitted)
    needed = max(MIN_MEASUREMENTS, len(fitted) + 1) if fitted else 1
    for name, series, seen in zip(names, values, observed, strict=True):
        where, count = f'"{name}"', int(np.sum(seen))
        if count < needed:
            number = f"{needed} measurements" + (f" to fit {listed}" if fitted else "")
            msg = (
                f"`values` of {where} must hold at least {number}, got {count}. "
                "Give parameters instead, or leave the series out."
            )
            raise ValueError(msg)
        shown = series[seen]
        with np.errstate(over="ignore"):
            spread = float(np.max(np.abs(shown - shown[0])))
        if spread and not MIN_SPREAD < spread < MAX_SPREAD:
            msg = (
                f"`values` of {where} vary by {spread:g}, whose square double precision cannot "
                "hold. Pass them in another unit."
            )
            raise ValueError(msg)
        if not fitted:
            continue
        if spread == 0.0:
            msg = f"`values` of {where} must vary to fit {listed}, got {shown[0]:g} only."
            raise ValueError(msg + " Give the parameters.")
        if np.ptp(times[seen]) == 0.0:
            msg = f"`times` of {where} must vary to fit {listed}, got a single one."
            raise ValueError(msg + " Give the parameters.")
