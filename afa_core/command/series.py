"""Models of the columns of a table: fitted, and what they filter, smooth and forecast."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from afa_core.backend import Backend
from afa_core.command.errors import CommandError
from afa_core.command.progress import progress_bar
from afa_core.command.table import Table, read_moments

if TYPE_CHECKING:
    from afa_core.timeseries import Estimates, Filter, Forecast

COMPUTED = ("mean", "sd", "prediction", "prediction_sd", "weight", "outlier")
"""The arrays of estimates."""

MAX_STEPS = 1_000_000
"""Of a forecast."""


class Fitted(NamedTuple):
    """A model of some columns, which are of one kind: series of their own, or pairs."""

    names: tuple[str, ...]  # of the columns
    frame: Any  # the columns in the order of time, a table of pandas
    model: Filter
    found: Estimates | None = None  # arrays of NumPy in the order of time
    ahead: Forecast | None = None


class Model(NamedTuple):
    """The columns to model, and the parameters of `Filter`; those that are None are fitted."""

    values: tuple[str, ...]  # names of the columns
    pairs: tuple[str, ...] = ()  # two columns each
    decay: float | None = None
    process: float | None = None
    measurement: float | None = None
    level: float | None = None
    frequency: float | None = None  # of the pairs
    dof: float = 4.0
    robust: bool = True
    threshold: float = 3.5
    window: int = 8192
    unit: str = "D"

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns."""
        return (*self.values, *self.pairs)


def fit_columns(table: Table, model: Model) -> list[Fitted]:
    """Fit all columns of a model, single ones and pairs.

    Raises
    ------
    CommandError
        If the measurements do not determine the parameters that are not given.
    """
    import numpy as np
    import pandas as pd

    from afa_core.timeseries import Filter

    order = time_order(table)
    index = pd.Index(np.asarray(table.times)[order], name=table.time)
    parameters = model._asdict()
    for name in ("values", "pairs", "frequency"):
        del parameters[name]
    fitted = []
    for names, frequency in ((model.values, 0.0), (model.pairs, model.frequency)):
        if names:
            frame = pd.DataFrame({name: table.values[name][order] for name in names}, index=index)
            fit = _reported(table, Filter(**parameters, frequency=frequency).fit)
            fitted.append(Fitted(names, frame, fit(frame, progress=progress_bar)))
    return fitted


def time_order(table: Table) -> Any:
    """Return the places of the rows in the order of time; rows of one time keep theirs."""
    import numpy as np

    return np.argsort(table.times, kind="stable")


def estimate(
    fitted: Fitted, table: Table, kind: str, backend: Backend, device: str | None = None
) -> Fitted:
    """Add the estimates of the filter or the smoother, computed by an array library.

    Parameters
    ----------
    fitted : Fitted
    table : Table
    kind : {"filter", "smooth"}
    backend : Backend
    device : str or None
        Of the library; by default its first.

    Raises
    ------
    CommandError
        If the model cannot be smoothed.
    """
    call = _reported(table, getattr(fitted.model, kind))
    if backend.name == "numpy":
        found = call(progress=progress_bar)
    else:
        arrays = elapsed(fitted), fitted.frame.to_numpy()
        found = call(*(backend.from_numpy(x, device) for x in arrays), progress=progress_bar)
    computed = {name: _to_numpy(getattr(found, name), backend) for name in COMPUTED}
    layout = found.layout._replace(names=fitted.names, pandas=False)
    values = fitted.frame.to_numpy()
    found = found._replace(times=fitted.frame.index, values=values, layout=layout, **computed)
    return fitted._replace(found=found)


def _to_numpy(x: Any, backend: Backend) -> Any:
    """Return a table of pandas or an array of a library as an array of NumPy."""
    return x.to_numpy() if hasattr(x, "to_numpy") else backend.to_numpy(x)


def elapsed(fitted: Fitted) -> Any:
    """Return the time since the first row, in the unit of the parameters where times are dates."""
    from afa_core.timeseries.times import clock_of

    times = fitted.frame.index.to_numpy()
    return clock_of(times, fitted.model.unit).elapsed(times)


def forecast(fitted: Sequence[Fitted], table: Table, ahead: Any) -> list[Fitted]:
    """Add forecasts, all at the same times: a number of steps ahead, or later times.

    Raises
    ------
    CommandError
        If a time is not after the last one.
    """
    return [each._replace(ahead=_reported(table, each.model.forecast)(ahead)) for each in fitted]


def times_until(fitted: Fitted, table: Table, until: str) -> Any:
    """Return times after the last one, as far apart as those of the table, up to a time.

    Raises
    ------
    CommandError
        If there is none, or there are too many.
    """
    import numpy as np

    from afa_core.timeseries.times import clock_of

    clock = clock_of(fitted.frame.index.to_numpy()[-1:], fitted.model.unit)
    steps = _reported(table, fitted.model.forecast)
    first = np.asarray(steps(1).times)
    step, end = (clock.elapsed(x)[0] for x in (first, read_moments([until], table, "--until")))
    if end < step:
        msg = f"argument --until: must not be before the first step, {first[0]}, got {until!r}."
        raise CommandError(f"{msg} Pass --at for times between steps.")
    count = float(end / step)
    if count > MAX_STEPS:
        msg = f"argument --until: {until!r} is {count:.3g} steps ahead. Pass --at for single times."
        raise CommandError(msg)
    times = steps(int(1.2 * count) + 2).times  # months are of different lengths
    return times[clock.elapsed(np.asarray(times)) <= end]


def _reported(table: Table, call: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function whose ValueError is one of the table."""

    def run(*arguments: Any, **options: Any) -> Any:
        try:
            return call(*arguments, **options)
        except ValueError as error:
            msg = f"{table.source}: {error}"
            raise CommandError(msg) from error

    return run
