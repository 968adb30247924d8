"""Times of series: numbers or dates, as exact differences from the first."""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple, cast

import numpy as np

from afa_core._array.arrays import Namespace, device_of, is_array, namespace, wide_dtype
from afa_core.timeseries.innovations import NUMPY

UNITS = ("W", "D", "h", "m", "s", "ms", "us", "ns")
"""Units of time where times are dates."""


class Clock(NamedTuple):
    """From which origin times are measured, and dates in which unit."""

    origin: Any  # a time
    unit: str | None  # None for numbers

    def elapsed(self, times: Any) -> Any:
        """Return the time since the origin, floating; differences of integers and dates are exact.

        Raises
        ------
        TypeError
            If the times are dates and the origin is a number, or the other way round.
        """
        if (self.unit is None) == _is_dates(times):
            kinds = ("numbers", "dates") if self.unit is None else ("dates", "numbers")
            msg = f"`times` must be {kinds[0]} like those fitted, got {kinds[1]}. Convert them."
            raise TypeError(msg)
        since = times - self.origin
        if self.unit is not None:
            return since / _duration(self.unit)
        xp = namespace(times=since)
        return xp.astype(since, wide_dtype(xp, device_of(since)), copy=False)

    def time(self, elapsed: Any) -> Any:
        """Return the times at which so much has elapsed."""
        if self.unit is None:
            return self.origin + elapsed
        tick = np.datetime_data(self.origin.dtype)[0]
        if tick == self.unit and np.all(elapsed == np.rint(elapsed)):
            return self.origin + np.rint(elapsed).astype(f"timedelta64[{tick}]")
        nanoseconds = np.rint(elapsed * (_duration(self.unit) / _duration("ns")))
        return self.origin + nanoseconds.astype("timedelta64[ns]")


def _duration(unit: str) -> Any:
    """Return the duration of a unit of time."""
    return np.ones((), dtype=f"timedelta64[{unit}]")[()]


def clock_of(times: Any, unit: str) -> Clock:
    """Return the clock of times that begin with the first of these."""
    return Clock(times[0], unit if _is_dates(times) else None)


def read_times(times: Any) -> Any:
    """Return times as an array (n,): signed integers, floating, NumPy dates or durations.

    Raises
    ------
    TypeError
        If they are neither numbers nor dates.
    ValueError
        If they are not one-dimensional, or some are missing.
    """
    if not is_array(times):
        times = _from_pandas(times) if hasattr(times, "dtype") else np.asarray(times)
    if isinstance(times, np.ndarray):
        times = _numpy_times(times)
    if times.ndim != 1:
        msg = f"`times` must have shape (n,), got {tuple(times.shape)}. Pass one time for each row."
        raise ValueError(msg)
    missing = _missing(times)
    if missing is not None:
        msg = f"`times` must all be given, got {times[missing]} in row {missing}. Remove such rows."
        raise ValueError(msg)
    return times


def _from_pandas(times: Any) -> Any:
    """Return the times of an index or a series, in UTC if they have a zone."""
    kind = type(times.dtype).__name__
    if kind == "PeriodDtype":
        return import_module("pandas").PeriodIndex(times).to_timestamp().to_numpy()
    if kind == "DatetimeTZDtype":
        zoned = import_module("pandas").DatetimeIndex(times)
        return zoned.tz_convert("UTC").tz_localize(None).to_numpy()
    return np.asarray(times)


def _numpy_times(times: Any) -> Any:
    """Return times of a dtype whose differences are exact."""
    kind = times.dtype.kind
    if kind == "O":
        try:
            times = times.astype("datetime64[us]")
        except (TypeError, ValueError) as error:
            msg = (
                f"`times` must be numbers or dates, got objects such as {times.ravel()[:1]}. "
                "Convert them, for dates with pandas.to_datetime(times, utc=True)."
            )
            raise TypeError(msg) from error
        return times
    if kind == "M" and np.datetime_data(times.dtype)[0] in ("Y", "M"):
        return times.astype("datetime64[D]")  # whose steps are all of one length
    if kind == "u":
        if times.size and int(times.max()) > np.iinfo(np.int64).max:
            msg = f"`times` must be less than 2**63, got {times.max()}. Subtract the first of them."
            raise ValueError(msg)
        return times.astype(np.int64)
    if kind not in "ifmM":
        msg = (
            f"`times` must be numbers or dates, got dtype {times.dtype}. "
            "Convert them, for dates with pandas.to_datetime(times)."
        )
        raise TypeError(msg)
    return times


def _is_dates(times: Any) -> bool:
    return isinstance(times, np.ndarray | np.generic) and times.dtype.kind in "mM"


def _missing(times: Any) -> int | None:
    """Return the row of the first time that is not finite, if there is one."""
    if _is_dates(times):
        return first_true(np.isnat(times), xp=NUMPY)
    xp = namespace(times=times)
    if not xp.isdtype(times.dtype, "real floating"):
        return None
    return first_true(xp.logical_not(xp.isfinite(times)), xp=xp)


def first_true(x: Any, *, xp: Namespace) -> int | None:
    """Return the place of the first true element of (n,), None if there is none."""
    if not x.shape[0] or not bool(xp.any(x)):
        return None
    return int(cast(Any, xp.argmax(xp.astype(x, xp.int8))))
