"""The times of a forecast."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any

import numpy as np

from afa_core._array.arrays import Array, device_of, is_array, is_count, namespace
from afa_core.timeseries.data import Data, like_values
from afa_core.timeseries.times import read_times
from afa_core.timeseries.values import as_numpy


def times_ahead(ahead: Any, data: Data) -> tuple[Any, Array]:
    """Return times after the last of the data, (k,), and what has elapsed of its clock by then.

    Raises
    ------
    TypeError, ValueError
        If `ahead` is neither a number of steps nor later times.
    """
    if isinstance(ahead, int | np.integer):
        count = ahead if isinstance(ahead, bool) else int(ahead)
        if not is_count(count):
            msg = f"`ahead` must be a number of steps ≥ 1, got {ahead!r}. Pass 1 for the next one."
            raise ValueError(msg)
        ahead = _steps(count, data)
    else:
        _check_zones(ahead, data.given_times)
    moments = read_times(ahead, name="ahead")
    elapsed = data.clock.elapsed(moments, name="ahead")
    early = as_numpy(elapsed) <= as_numpy(data.elapsed)[-1]
    if early.any():
        first = moments[int(early.argmax())]
        msg = (
            f"`ahead` must be later than the last time of the series, got {first}. "
            "Pass later times, or a number of steps; smooth() estimates earlier states."
        )
        raise ValueError(msg)
    return ahead, like_values(elapsed, data.values)


def _check_zones(ahead: Any, given: Any) -> None:
    """Check that dates have a time zone if, and only if, those of pandas that were fitted have one.

    Raises
    ------
    ValueError
        If one has a zone and the other has none.
    """
    if not hasattr(given, "to_numpy"):
        return
    pandas = import_module("pandas")
    own, later = (getattr(pandas.Index(x), "tz", None) for x in (given, ahead))
    if (own is None) != (later is None):
        msg = (
            f"`ahead` must be dates {'with' if own else 'without'} a time zone like those fitted, "
            f"got {'some of ' + str(later) if later else 'some without'}. "
            "Convert them with tz_localize."
        )
        raise ValueError(msg)


def _steps(count: int, data: Data) -> Any:
    """Return so many times after the last, as far apart as those of the data are."""
    given = data.given_times
    if not hasattr(given, "to_numpy"):  # not of pandas
        later = _regular(as_numpy(data.moments), count)
        if isinstance(given, np.ndarray) or not is_array(given):
            return later
        return namespace(times=given).asarray(later, device=device_of(given))
    pandas = import_module("pandas")
    index = pandas.Index(given)
    frequency = None if data.order is not None else _frequency(index)
    if frequency is not None:
        ranges = {
            "PeriodIndex": pandas.period_range,
            "TimedeltaIndex": pandas.timedelta_range,
            "DatetimeIndex": pandas.date_range,
        }
        return ranges[type(index).__name__](index[-1], periods=count + 1, freq=frequency)[1:]
    later = pandas.Index(_regular(data.moments, count))
    zone = getattr(index, "tz", None)
    return later if zone is None else later.tz_localize("UTC").tz_convert(zone)


def _frequency(index: Any) -> Any:
    """Return the frequency of an index of pandas, None if it has none."""
    frequency = getattr(index, "freq", None)
    if frequency is None and type(index).__name__ == "DatetimeIndex" and len(index) > 2:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that another type will be returned
            return import_module("pandas").infer_freq(index)
    return frequency


def _regular(moments: Any, count: int) -> Any:
    """Return so many times after the last of (n,), their median difference apart."""
    dates = moments.dtype.kind in "mM"
    lag = np.diff(moments)
    if dates:
        lag = lag.astype(np.int64)
    lag = lag[lag > 0]
    step = np.median(lag) if lag.size else 1.0
    steps = step * np.arange(1, count + 1)
    if moments.dtype.kind not in "imM":
        return moments[-1] + steps
    if not step.is_integer() and not dates:
        return float(moments[-1]) + steps
    unit = np.datetime_data(moments.dtype)[0] if dates else None
    if not step.is_integer() and unit in _FINER:
        finer = moments.astype(f"{moments.dtype.kind}8[{_FINER[unit]}]")
        if (finer.astype(moments.dtype) == moments).all():
            return _regular(finer, count)
    whole = np.rint(steps).astype(np.int64)
    return moments[-1] + (whole.astype(f"m8[{unit}]") if dates else whole)


_FINER = {"W": "D", "D": "h", "h": "m", "m": "s", "s": "ms", "ms": "us", "us": "ns"}
"""Units in which half a unit is whole."""
