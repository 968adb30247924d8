"""The times of a forecast."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any

import numpy as np

from afa_core._array.arrays import Array, device_of, is_count
from afa_core.timeseries.data import Data
from afa_core.timeseries.times import read_times


def times_ahead(ahead: Any, data: Data) -> tuple[Any, Array]:
    """Return times after the last of the data, (k,), and what has elapsed of its clock by then.

    Raises
    ------
    TypeError, ValueError
        If `ahead` is neither a number of steps nor later times.
    """
    if isinstance(ahead, int | np.integer):
        if not is_count(ahead):
            msg = f"`ahead` must be a number of steps ≥ 1, got {ahead!r}. Pass 1 for the next one."
            raise ValueError(msg)
        ahead = _steps(int(ahead), data)
    moments = read_times(ahead)
    elapsed = data.clock.elapsed(moments)
    early = np.asarray(elapsed) <= np.asarray(data.elapsed)[-1]
    if early.any():
        first = moments[early.argmax()]
        msg = (
            f"`ahead` must be later than the last time of the series, got {first}. "
            "Pass later times, or a number of steps; smooth() estimates earlier states."
        )
        raise ValueError(msg)
    xp = data.xp
    if isinstance(elapsed, np.ndarray) and not isinstance(data.values, np.ndarray):
        elapsed = xp.asarray(elapsed, device=device_of(data.values))
    return ahead, elapsed


def _steps(count: int, data: Data) -> Any:
    """Return so many times after the last, as far apart as those of the data are."""
    index = data.layout.index
    if index is not None and data.order is None:
        kind = type(index).__name__
        if kind == "PeriodIndex":
            return index[-1] + np.arange(1, count + 1)
        if kind == "DatetimeIndex":
            pandas = import_module("pandas")
            with warnings.catch_warnings():  # of the kind of what is inferred
                warnings.simplefilter("ignore")
                frequency = index.freq or index.inferred_freq
            if frequency is not None:
                return pandas.date_range(index[-1], periods=count + 1, freq=frequency)[1:]
    elapsed = np.asarray(data.elapsed)
    lag = np.diff(elapsed)
    lag = lag[lag > 0.0]
    step = float(np.median(lag)) if lag.size else 1.0
    later = data.clock.time(elapsed[-1] + step * np.arange(1, count + 1))
    if index is not None and type(index).__name__ == "DatetimeIndex":
        later = import_module("pandas").DatetimeIndex(later)
        return later if index.tz is None else later.tz_localize("UTC").tz_convert(index.tz)
    return later
