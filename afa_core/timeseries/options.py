"""The options of the filter: which parameters are given, and whether all are valid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from afa_core._array.arrays import is_array, is_count, is_number, namespace
from afa_core._checks.values import require_finite, require_nonnegative, require_positive
from afa_core.timeseries.fit import KnownParameters
from afa_core.timeseries.scaling import Parameters
from afa_core.timeseries.times import UNITS
from afa_core.timeseries.values import as_numpy, is_complex

PARAMETERS = {
    "decay": require_nonnegative,
    "process": require_nonnegative,
    "measurement": require_positive,
    "level": require_finite,
    "frequency": require_finite,
}
"""What is required of parameters that are not None."""


def check_options(options: Mapping[str, Any]) -> None:
    """Check the parameters of the constructor.

    Raises
    ------
    TypeError, ValueError
        If one is not valid.
    """
    for name, require in PARAMETERS.items():
        parts = _components(options[name]) if name == "level" else (options[name],)
        for part in parts:
            if part is not None:
                require(**{name: part})
    for name in ("dof", "threshold"):
        x = options[name]
        if not is_number(x):
            msg = f"`{name}` must be a Python number, got {type(x).__name__}. Pass one for all."
            raise TypeError(msg)
        require_positive(**{name: x})
    window, unit, robust = options["window"], options["unit"], options["robust"]
    if not is_count(int(window) if isinstance(window, np.integer) else window):
        msg = f"`window` must be a number of measurements ≥ 1, got {window!r}. Pass an integer."
        raise ValueError(msg)
    if not isinstance(unit, str) or unit not in UNITS:
        msg = f"`unit` must be one of {', '.join(UNITS)}, got {unit!r}. Choose one of them."
        raise ValueError(msg)
    if not isinstance(robust, bool | np.bool_):
        msg = f"`robust` must be True or False, got {robust!r}. Choose one of them."
        raise TypeError(msg)


def _components(x: Any) -> tuple[Any, ...]:
    """Return a level, or its real and imaginary part if it is complex."""
    if not is_complex(x):
        return (x,)
    if not is_array(x):
        return x.real, x.imag
    xp = namespace(parameter=x)
    return xp.real(x), xp.imag(x)


def dof_of(options: Mapping[str, Any]) -> float | None:
    """Return the degrees of freedom, None if the filter is not robust."""
    return float(options["dof"]) if options["robust"] else None


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
    """Return the parameters that are given, (s,) each in double precision, None for those to fit.

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
        if x is not None:
            x = np.broadcast_to(x, (series,)).astype(np.result_type(x, np.float64))
        fields.append(x)
    return KnownParameters(*fields)
