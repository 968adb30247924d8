"""What a fitted filter returns: estimates and forecasts, with their intervals and tables."""

from __future__ import annotations

from importlib import import_module
from numbers import Real
from statistics import NormalDist
from typing import Any, Literal, NamedTuple

import numpy as np

from afa_core.timeseries.plot import plot_estimates, plot_forecast
from afa_core.timeseries.values import Layout


class Estimates(NamedTuple):
    """The states of series at the times of their measurements.

    Arrays have the shape and kind of the values: (n,) or (n, c), of the same array library or of
    pandas with the same index. A pair has the same standard deviation, weight and flag in both
    components. Where nothing is known yet, estimates are NaN.

    Parameters
    ----------
    times, values
        As given.
    mean : array
        Estimate of the state, value: from the measurements up to each time (`Filter.filter`), or
        from all (`Filter.smooth`).
    sd : array
        Its standard deviation.
    prediction : array
        Prediction of the state without the measurement at that time: from those before it, or from
        all others.
    prediction_sd : array
        Standard deviation of the measurement about its prediction.
    weight : array
        Robust weight ν/(ν + u²) of each measurement, in (0, 1], u its standardised residual; 1
        if the filter is not robust, NaN where nothing is measured.
    outlier : boolean array
        Whether the standardised prediction residual exceeds the threshold of the filter.
    layout : Layout
        How values were given.
    """

    times: Any
    values: Any
    mean: Any
    sd: Any
    prediction: Any
    prediction_sd: Any
    weight: Any
    outlier: Any
    layout: Layout

    @property
    def residual(self) -> Any:
        """Standardised prediction residual, (z − prediction)/prediction_sd."""
        return (self.values - self.prediction) / self.prediction_sd

    def interval(self, level: float = 0.95) -> tuple[Any, Any]:
        """Return the lower and upper ends of central normal intervals of the state.

        Raises
        ------
        ValueError
            If `level` is not between 0 and 1.
        """
        return _interval(self.mean, self.sd, level)

    def plot(self, axes: Any = None, *, level: float = 0.95) -> list[Any]:
        """Draw measurements, estimates with intervals and outliers; return the axes of columns.

        Parameters
        ----------
        axes : matplotlib axes, a sequence of them, or None
            One for each column of the values; by default those of a new figure.
        level : float
            Of the intervals.

        Raises
        ------
        ValueError
            If `level` is not between 0 and 1, or there are not as many axes as columns.
        """
        return plot_estimates(self, axes, level=level)

    def to_frame(self, level: float = 0.95) -> Any:
        """Return a pandas table with a row for each time; names of columns begin with the series'.

        For a single series they are those of the attributes, with `lower` and `upper`.

        Raises
        ------
        ImportError
            Without pandas.
        ValueError
            If `level` is not between 0 and 1, or two columns would have one name.
        """
        lower, upper = self.interval(level)
        columns = {
            "value": self.values,
            "mean": self.mean,
            "sd": self.sd,
            "lower": lower,
            "upper": upper,
            "prediction": self.prediction,
            "prediction_sd": self.prediction_sd,
            "weight": self.weight,
            "outlier": self.outlier,
        }
        return _frame(columns, self.times, self.layout)


class Forecast(NamedTuple):
    """The states of series at later times.

    Parameters
    ----------
    times : array, shape (k,)
        Of the kind of those fitted; an index of pandas if that was.
    mean : array, shape (k,) or (k, c)
        Forecast of the state, and of a measurement, value.
    sd : array
        Standard deviation of the state.
    measurement_sd : array
        Standard deviation of a measurement.
    layout : Layout
        How values were given.
    """

    times: Any
    mean: Any
    sd: Any
    measurement_sd: Any
    layout: Layout

    def interval(
        self, level: float = 0.95, *, of: Literal["state", "measurement"] = "state"
    ) -> tuple[Any, Any]:
        """Return the lower and upper ends of central normal intervals.

        Raises
        ------
        ValueError
            If `level` is not between 0 and 1, or `of` is something else.
        """
        if of not in ("state", "measurement"):
            msg = f"`of` must be 'state' or 'measurement', got {of!r}. Leave it out for the state."
            raise ValueError(msg)
        return _interval(self.mean, self.sd if of == "state" else self.measurement_sd, level)

    def plot(self, axes: Any = None, *, level: float = 0.95) -> list[Any]:
        """Draw forecasts with the intervals of measurements; return the axes of columns.

        Takes the arguments of `Estimates.plot`, and raises its errors.
        """
        return plot_forecast(self, axes, level=level)

    def to_frame(self, level: float = 0.95) -> Any:
        """Return a pandas table with a row for each time; names of columns begin with the series'.

        Intervals are those of the state, `lower` and `upper`, and of the measurement.

        Raises
        ------
        ImportError
            Without pandas.
        ValueError
            If `level` is not between 0 and 1, or two columns would have one name.
        """
        lower, upper = self.interval(level)
        low, high = self.interval(level, of="measurement")
        columns = {
            "mean": self.mean,
            "sd": self.sd,
            "measurement_sd": self.measurement_sd,
            "lower": lower,
            "upper": upper,
            "measurement_lower": low,
            "measurement_upper": high,
        }
        return _frame(columns, self.times, self.layout)


def _interval(mean: Any, sd: Any, level: float) -> tuple[Any, Any]:
    if not (isinstance(level, Real) and 0.0 < float(level) < 1.0):
        msg = f"`level` must be between 0 and 1, got {level!r}. Pass 0.95 for 95 %."
        raise ValueError(msg)
    width = NormalDist().inv_cdf(0.5 + 0.5 * float(level)) * sd
    return mean - width, mean + width


def _frame(columns: dict[str, Any], times: Any, layout: Layout) -> Any:
    """Return a pandas table of columns of the shape of the values."""
    try:
        pandas = import_module("pandas")
    except ImportError as error:
        msg = "`to_frame` needs pandas. Install it, or read the attributes."
        raise ImportError(msg) from error
    index = times if isinstance(times, pandas.Index) else pandas.Index(np.asarray(times))
    if layout.flat:
        return pandas.DataFrame({name: np.asarray(x) for name, x in columns.items()}, index=index)
    table: dict[str, Any] = {}
    for place, series in enumerate(layout.names):
        for name, x in columns.items():
            own = f"{series}_{name}"
            if own in table:
                msg = (
                    f"`values` must have columns whose results have different names, got {own!r} "
                    f"twice, the second time of {series!r}. Rename it."
                )
                raise ValueError(msg)
            table[own] = np.asarray(x)[:, place]
    return pandas.DataFrame(table, index=index)
