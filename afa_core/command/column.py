"""One column of a table: fit the parameters that are not given, then run both filters."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

from afa_core._array.arrays import namespace
from afa_core.backend import Backend
from afa_core.command.errors import CommandError
from afa_core.command.filtering import (
    Observations,
    SeriesModel,
    attention_filter,
    kalman_filter,
    last_weights,
)
from afa_core.command.progress import iteration_counter, progress_bar
from afa_core.command.table import Table

MAX_SHOWN = 600
"""Rows of attention weights in a picture."""


class GivenParameters(NamedTuple):
    """The parameters that the user gives.

    Those that are None are fitted.
    """

    decay: float | None = None
    process: float | None = None
    measurement: float | None = None
    level: float | None = None
    dof: float = 4.0
    threshold: float = 3.0


class FilteredColumn(NamedTuple):
    """A filtered column in order of time, NumPy arrays (n,); NaN before the first measurement."""

    name: str
    model: SeriesModel
    fitted: tuple[str, ...]
    rows: list[int]  # of the file, in order of time
    times: Any
    values: Any
    estimate: Any
    deviation: Any
    prediction: Any
    weight: Any
    outlier: Any
    kalman_estimate: Any
    kalman_deviation: Any
    kalman_prediction: Any
    log_likelihood: float
    attention: Any  # (k, n), of the last k rows

    def outputs(self) -> dict[str, Any]:
        """Return the columns to write, by the suffix of their names."""
        return {
            "estimate": self.estimate,
            "std": self.deviation,
            "weight": self.weight,
            "outlier": self.outlier,
            "prediction": self.prediction,
            "kalman_estimate": self.kalman_estimate,
            "kalman_std": self.kalman_deviation,
            "kalman_prediction": self.kalman_prediction,
        }


def filter_column(
    table: Table, name: str, given: GivenParameters, backend: Backend, device: str | None = None
) -> FilteredColumn:
    """Filter one column on a backend.

    Raises
    ------
    CommandError
        If the measurements do not determine the parameters to fit, or a given one is invalid.
    """
    xp: Any = namespace(values=table.values[name])
    rows = xp.argsort(table.times, stable=True)
    times, values = table.times[rows], table.values[name][rows]
    observed = xp.isfinite(values)
    elapsed = times - times[0]
    if table.dates is not None:
        elapsed = elapsed / xp.timedelta64(1, "D")
    elapsed = xp.astype(elapsed, xp.float64)
    model, fitted = _model(f'{table.source}: column "{name}"', values, elapsed, observed, given)
    data = Observations(*(backend.from_numpy(x, device) for x in (values, elapsed, observed)))
    exact = kalman_filter(data, model)
    robust = attention_filter(data, model, partial(progress_bar, title=f"attending over {name}"))
    weights = last_weights(data, model, robust.query[max(len(rows) - MAX_SHOWN, 0) :, :])

    to_numpy = backend.to_numpy
    estimate, predicted = to_numpy(robust.states.estimate), to_numpy(exact.predicted_deviation)
    return FilteredColumn(
        name=name,
        model=model,
        fitted=fitted,
        rows=rows.tolist(),
        times=times,
        values=values,
        estimate=estimate,
        deviation=to_numpy(robust.states.deviation),
        prediction=to_numpy(robust.states.prediction),
        weight=to_numpy(robust.weight),
        outlier=xp.abs(values - estimate) > given.threshold * predicted,
        kalman_estimate=to_numpy(exact.states.estimate),
        kalman_deviation=to_numpy(exact.states.deviation),
        kalman_prediction=to_numpy(exact.states.prediction),
        log_likelihood=float(to_numpy(exact.log_likelihood)),
        attention=to_numpy(weights),
    )


def _model(
    place: str, values: Any, times: Any, observed: Any, given: GivenParameters
) -> tuple[SeriesModel, tuple[str, ...]]:
    """Return the model and the names of the parameters that were fitted."""
    names = "decay", "process", "measurement", "level"
    parameters = {name: getattr(given, name) for name in names}
    try:
        fit = import_module("afa_core.timeseries.fit").fit(
            values[observed],
            times[observed],
            callback=iteration_counter("fitting"),
            **parameters,
        )
    except ValueError as error:
        msg = f"{place}: {error}"
        raise CommandError(msg) from error
    model = SeriesModel(
        decay=fit.decay,
        process=fit.process,
        measurement=fit.measurement,
        query=fit.measurement,
        level=fit.level,
        dof=given.dof,
    )
    return model, tuple(name for name, number in parameters.items() if number is None)
