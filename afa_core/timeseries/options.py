"""The options of the filter: which parameters are given, and whether all are valid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from afa_core._array.arrays import is_count
from afa_core._checks.values import require_finite, require_nonnegative, require_positive
from afa_core.timeseries.fit import KnownParameters
from afa_core.timeseries.scaling import Parameters
from afa_core.timeseries.times import UNITS

REQUIRED = {
    "decay": require_nonnegative,
    "process": require_nonnegative,
    "measurement": require_positive,
    "level": require_finite,
    "frequency": require_finite,
    "dof": require_positive,
    "threshold": require_positive,
}
"""What is required of parameters that are not None."""


def check_options(options: Mapping[str, Any]) -> None:
    """Check the parameters of the constructor.

    Raises
    ------
    TypeError, ValueError
        If one is not valid.
    """
    for name, require in REQUIRED.items():
        if options[name] is not None:
            require(**{name: options[name]})
    window, unit = options["window"], options["unit"]
    if not is_count(window):
        msg = f"`window` must be a number of measurements ≥ 1, got {window!r}. Pass an integer."
        raise ValueError(msg)
    if unit not in UNITS:
        msg = f"`unit` must be one of {', '.join(UNITS)}, got {unit!r}. Choose one of them."
        raise ValueError(msg)


def takes_pairs(frequency: Any) -> bool:
    """Whether columns are taken in pairs."""
    return frequency is None or bool(np.any(as_numpy(frequency) != 0.0))


def given_parameters(options: Mapping[str, Any]) -> Parameters:
    """Return the parameters where none is to be fitted.

    Raises
    ------
    ValueError
        If one is.
    """
    given = Parameters(*(options[name] for name in Parameters._fields))
    walks = given.decay is not None and not np.any(as_numpy(given.decay))
    for name, x in zip(Parameters._fields, given, strict=True):
        if x is None and not (name == "level" and walks):
            msg = f"`{name}` must be given or fitted, got None. Call fit(times, values) first."
            raise ValueError(msg)
    return given


def parameters_to_fit(options: Mapping[str, Any], series: int) -> KnownParameters:
    """Return the parameters that are given, (s,) each, and None for those to fit.

    Raises
    ------
    ValueError
        If there is not one for each series.
    """
    fields = []
    for name in KnownParameters._fields:
        x = None if options[name] is None else as_numpy(options[name])
        if x is not None and x.ndim and x.shape != (series,):
            msg = (
                f"`{name}` must be a number or have shape ({series},), one for each series, "
                f"got {x.shape}. Pass one number for all."
            )
            raise ValueError(msg)
        fields.append(None if x is None else np.broadcast_to(x, (series,)))
    return KnownParameters(*fields)


def as_numpy(x: Any) -> Any:
    """Return an array as one of NumPy.

    Raises
    ------
    TypeError
        If its library does not convert it.
    """
    try:
        return np.asarray(x)
    except (TypeError, ValueError, RuntimeError) as error:
        msg = f"`fit` takes arrays that NumPy can read, got {type(x).__name__}. Convert it first."
        raise TypeError(msg) from error
