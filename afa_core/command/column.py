"""One column of a series: fit what is not given, then run both filters."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

from afa_core._array.arrays import namespace
from afa_core._checks.values import require_positive
from afa_core.backend import Backend, load
from afa_core.command.errors import CommandError
from afa_core.command.filtering import Measured, Model, exact_filter, look, robust_filter
from afa_core.command.progress import progress, ticker
from afa_core.command.series import Series
from afa_core.model.sde import IsotropicSDE, Noise
from afa_core.model.weighting import StudentT

SHOWN = 600  # rows of attention weights in a picture


class Numbers(NamedTuple):
    """What the user gives; None is fitted, but for the query's noise, which follows the keys'."""

    decay: float | None = None
    process: float | None = None
    measurement: float | None = None
    query: float | None = None
    level: float | None = None
    dof: float = 4.0
    threshold: float = 3.0


class Column(NamedTuple):
    """A filtered column in order of time, NumPy arrays (n,); NaN where nothing is known."""

    name: str
    model: Model
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
        """Return what is written beside the measurements, by the end of its column's name."""
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
    series: Series, name: str, numbers: Numbers, backend: Backend, device: str | None = None
) -> Column:
    """Filter one column on a backend.

    Raises
    ------
    CommandError
        If the measurements do not determine what is to be fitted, or a number is out of range.
    """
    array = load("numpy").from_numpy
    rows = sorted(range(len(series.times)), key=series.times.__getitem__)
    times = array([series.times[row] for row in rows])
    values = array([series.values[name][row] for row in rows])
    xp: Any = namespace(values=values)
    observed = xp.isfinite(values)
    model, fitted = _model(f'{series.source}: column "{name}"', values, times, observed, numbers)

    elapsed = times - times[0]
    data = Measured(*(backend.from_numpy(x, device) for x in (values, elapsed, observed)))
    exact = exact_filter(data, model)
    robust = robust_filter(data, model, partial(progress, title=f"attending over {name}"))
    weights = look(data, model, robust.query[max(len(rows) - SHOWN, 0) :, :])

    back = backend.to_numpy
    estimate, predicted = back(robust.filtered.estimate), back(exact.predicted_deviation)
    return Column(
        name=name,
        model=model,
        fitted=fitted,
        rows=rows,
        times=times,
        values=values,
        estimate=estimate,
        deviation=back(robust.filtered.deviation),
        prediction=back(robust.filtered.prediction),
        weight=back(robust.weight),
        outlier=xp.abs(values - estimate) > numbers.threshold * predicted,
        kalman_estimate=back(exact.filtered.estimate),
        kalman_deviation=back(exact.filtered.deviation),
        kalman_prediction=back(exact.filtered.prediction),
        log_likelihood=float(back(exact.log_likelihood)),
        attention=back(weights),
    )


def _model(
    place: str, values: Any, times: Any, observed: Any, numbers: Numbers
) -> tuple[Model, tuple[str, ...]]:
    """Complete the given numbers by maximum likelihood; return the model and what was fitted."""
    _validate(numbers)
    given = {name: getattr(numbers, name) for name in ("decay", "process", "measurement", "level")}
    try:
        fit = import_module("afa_core.timeseries.fit").fit(
            values[observed], times[observed], callback=ticker("fitting"), **given
        )
    except ValueError as error:
        msg = f"{place}: {error}"
        raise CommandError(msg) from error
    model = Model(
        decay=fit.decay,
        process=fit.process,
        measurement=fit.measurement,
        query=fit.measurement if numbers.query is None else numbers.query,
        level=fit.level,
        dof=numbers.dof,
    )
    return model, tuple(name for name, number in given.items() if number is None)


def _validate(numbers: Numbers) -> None:
    """Raise CommandError for a given number out of its range."""
    measurement = 1.0 if numbers.measurement is None else numbers.measurement
    noise = Noise(numbers.process or 0.0, measurement, numbers.query or 0.0)
    try:
        require_positive(**{"noise.measurement": measurement})
        IsotropicSDE(numbers.decay or 0.0, 0.0, noise).validate()
        StudentT(numbers.dof).validate()
    except ValueError as error:
        raise CommandError(str(error)) from error
