"""The text of a fit."""

from __future__ import annotations

from typing import Any

import numpy as np

from afa_core.timeseries.data import Data
from afa_core.timeseries.fit import Fit

UNITS = {
    "decay": "1/{time}",
    "process": "value²/{time}",
    "measurement": "value²",
    "level": "value",
    "frequency": "radians/{time}",
}


def summary_of(data: Data, found: Fit, *, dof: float | None) -> str:
    """Return a block of lines for each series: what was measured, parameters, the likelihood."""
    return "\n\n".join(
        _block(data, found, place, dof=dof) for place in range(len(data.layout.series))
    )


def _block(data: Data, found: Fit, place: int, *, dof: float | None) -> str:
    paired = data.xp.isdtype(data.values.dtype, "complex floating")
    count = int(np.sum(np.asarray(data.observed)[place]))
    rows = data.values.shape[-1]
    time = data.clock.unit or "time"
    names = [name for name in UNITS if name != "frequency" or paired]
    if found.decay[place] == 0.0:
        names.remove("level")
    lines = [f"{data.layout.series[place]}: {count} measurements in {rows} rows"]
    for name in names:
        number, unit = getattr(found, name)[place], UNITS[name].format(time=time)
        if name in found.standard_errors:
            origin = f"fitted, standard error {_number(found.standard_errors[name][place])}"
        else:
            origin = "given"
        lines.append(f"  {name:<15} {_number(number):<12} {unit} ({origin})")
    kind = "normal" if dof is None else f"Student-t, {dof:g} degrees of freedom"
    likelihood = found.log_likelihood[place]
    aic = 2.0 * (found.fitted[place] - likelihood)
    lines.append(f"  log-likelihood  {likelihood:.4f} ({kind}), AIC {aic:.4f}")
    return "\n".join(lines)


def _number(x: Any) -> str:
    if not np.all(np.isfinite(x)):
        return "not determined"
    return f"{x:.5g}" if np.isrealobj(x) else f"{x.real:.5g}{x.imag:+.5g}i"
