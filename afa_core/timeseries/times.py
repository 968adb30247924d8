"""Times of series: numbers or dates, as exact differences from the first."""

from __future__ import annotations

from datetime import UTC, date, datetime
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

    def elapsed(self, times: Any, *, name: str = "times") -> Any:
        """Return the time since the origin, floating; differences of integers and dates are exact.

        Raises
        ------
        TypeError
            If the times are dates and the origin is a number, or the other way round.
        """
        if (self.unit is None) == _is_dates(times):
            kinds = ("numbers", "dates") if self.unit is None else ("dates", "numbers")
            msg = f"`{name}` must be {kinds[0]} like those fitted, got {kinds[1]}. Convert them."
            raise TypeError(msg)
        if self.unit is not None:
            since = _difference(_of_equal_steps(times), _of_equal_steps(self.origin))
            if np.datetime_data(since.dtype)[0] in ("ps", "fs", "as"):  # too far from days
                return since / _duration("ns") * (_duration("ns") / _duration(self.unit))
            return since / _duration(self.unit)
        xp = namespace(times=times)
        wide = wide_dtype(xp, device_of(times))
        if xp.isdtype(times.dtype, "real floating"):
            exact = xp.result_type(times.dtype, wide)
        elif xp.iinfo(times.dtype).bits < xp.finfo(wide).bits:
            exact = wide
        else:
            exact = times.dtype
        since = xp.astype(times, exact, copy=False) - xp.astype(self.origin, exact, copy=False)
        return xp.astype(since, wide, copy=False)


def _duration(unit: str) -> Any:
    """Return the duration of a unit of time."""
    return np.ones((), dtype=f"timedelta64[{unit}]")[()]


def _difference(dates: Any, origin: Any) -> Any:
    """Return dates since an origin, in microseconds where one of them is too far for a finer unit.

    What is lost is then less than the rounding of a floating number.
    """
    unit = np.promote_types(dates.dtype, origin.dtype)
    if any(np.any(x.astype(unit).astype(x.dtype) != x) for x in (dates, origin)):
        dates, origin = (x.astype(f"{x.dtype.kind}8[us]") for x in (dates, origin))
    return dates - origin


def _of_equal_steps(dates: Any) -> Any:
    """Return dates of which a unit has one length: months and years as days."""
    unit, _ = np.datetime_data(dates.dtype)
    return dates.astype(f"{dates.dtype.kind}8[D]") if unit in ("Y", "M") else dates


def clock_of(times: Any, unit: str) -> Clock:
    """Return the clock of times that begin with the first of these."""
    return Clock(times[0], unit if _is_dates(times) else None)


def read_times(times: Any, *, name: str = "times") -> Any:
    """Return times as an array (n,): signed integers, floating, NumPy dates or durations.

    Raises
    ------
    TypeError
        If they are neither numbers nor dates.
    ValueError
        If they are not one-dimensional, or some are missing.
    """
    hidden = np.ma.getmaskarray(times) if np.ma.isMaskedArray(times) else None
    if not is_array(times):
        times = _from_pandas(times) if hasattr(times, "dtype") else np.asarray(times)
    if times.ndim != 1:
        msg = f"`{name}` must have shape (n,), got {tuple(times.shape)}. Pass a sequence of times."
        raise ValueError(msg)
    if isinstance(times, np.ndarray):
        times = _numpy_times(times, name)
    missing = _missing(times) if hidden is None else first_true(hidden, xp=NUMPY)
    if missing is not None:
        got = times[missing] if hidden is None else "a masked one"
        msg = f"`{name}` must all be given, got {got} in row {missing}. Remove such rows."
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


def _numpy_times(times: Any, name: str) -> Any:
    """Return times of a dtype whose differences are exact.

    Raises
    ------
    TypeError, ValueError
        If they are neither numbers nor dates, or some have a time zone and others none.
    """
    kind = times.dtype.kind
    if kind == "O":
        return _of_objects(times, name)
    if kind == "u" and times.size and int(times.max()) > np.iinfo(np.int64).max:
        msg = f"`{name}` must be less than 2**63, got {times.max()}. Subtract the first of them."
        raise ValueError(msg)
    if kind not in "iufmM":
        msg = (
            f"`{name}` must be numbers or dates, got dtype {times.dtype}. "
            "Convert them, for dates with pandas.to_datetime(times)."
        )
        raise TypeError(msg)
    return times.astype(np.int64) if kind in "iu" else times


def _of_objects(times: Any, name: str) -> Any:
    """Return objects that are dates as NumPy's, in UTC if they have a zone."""
    for x in times:
        if not isinstance(x, date | np.datetime64 | None):
            msg = (
                f"`{name}` must be numbers or dates, got objects such as {x!r}. "
                "Convert them, for dates with pandas.to_datetime(times, utc=True)."
            )
            raise TypeError(msg)
    given = [x for x in times if isinstance(x, datetime) and x == x]
    if len({x.tzinfo is None for x in given}) > 1:
        msg = (
            f"`{name}` must all have a time zone, or none of them, got both. "
            "Convert them with pandas.to_datetime(times, utc=True)."
        )
        raise ValueError(msg)
    return np.array([_numpy_date(x) for x in times], dtype="datetime64")


def _numpy_date(x: Any) -> Any:
    """Return a date, of Python or pandas, as one of NumPy."""
    if hasattr(x, "to_datetime64"):
        return x.to_datetime64()
    if isinstance(x, datetime) and x.tzinfo is not None:
        x = x.astimezone(UTC).replace(tzinfo=None)
    return np.datetime64("NaT") if x is None else np.datetime64(x)


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
