"""Series as a caller gives them: times, values, and the order in which they are computed."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import numpy as np

from afa_core._array.arrays import Array, Namespace, device_of, namespace, wide_dtype
from afa_core.timeseries.innovations import NUMPY
from afa_core.timeseries.times import Clock, clock_of, first_true, read_times
from afa_core.timeseries.values import Layout, as_numpy, is_complex, read_values, unmasked


class Data(NamedTuple):
    """s series at n times in their order, and as they were given."""

    clock: Clock
    moments: Any  # times in their order, (n,), as read
    elapsed: Array  # since the origin of the clock, (n,), of the library of the values
    values: Array  # (s, n), complex of pairs; zero where nothing is measured
    observed: Array  # (s, n)
    layout: Layout
    given_times: Any
    given_values: Any
    order: Any  # places of the rows in the order of time, NumPy; None if that is theirs

    @property
    def xp(self) -> Namespace:
        """The namespace of the arrays."""
        return namespace(values=self.values)

    def times_of(self, rows: Any) -> Any:
        """Return the times, as given, of rows in the order of time."""
        return np.asarray(self.given_times)[rows if self.order is None else self.order[rows]]

    def rows(self, x: Array) -> Array:
        """Return what is in the order of time, (s, n), in the order of the rows given."""
        if self.order is None:
            return x
        return cast(Array, _taken(x, np.argsort(self.order)))


def read_data(times: Any, values: Any, options: Mapping[str, Any], *, sort: bool) -> Data:
    """Read times and values; of pandas, the index is the times if no values are given.

    The options are those of a filter.

    Raises
    ------
    TypeError, ValueError
        If either is not as described at `Filter`.
    """
    if times is None:
        msg = (
            "`times` must be given with `values`, got None. Pass both, or a series or table of "
            "pandas alone, first."
        )
        raise TypeError(msg)
    if values is None:
        if not hasattr(times, "index") or not hasattr(times, "to_numpy"):
            msg = "`values` must be given, got None. Only a series or table of pandas has times."
            raise TypeError(msg)
        _warn_of_times_among_values(times)
        times, values = times.index, times
    if np.ma.isMaskedArray(values):
        values = unmasked(values)
    moments = read_times(times)
    read = read_values(values, moments.shape[0], paired=_takes_pairs(options["frequency"]))
    _check_level(options["level"], paired=read.layout.paired)
    if not moments.shape[0]:
        msg = "`times` must have at least one row, got none. Skip an empty series."
        raise ValueError(msg)
    order = _order(moments, sort=sort)
    if order is not None:
        moments = _taken(moments, order)
    clock = clock_of(moments, options["unit"])
    elapsed = like_values(clock.elapsed(moments), read.values)
    if bool(elapsed[-1] < elapsed[0]):  # integers have overflown
        msg = f"`times` must span less than 2**63, got {moments[0]} to {moments[-1]}. Convert them."
        raise ValueError(msg)
    numbers, observed = read.values, read.observed
    if order is not None:
        numbers, observed = (_taken(x, order) for x in (numbers, observed))
    return Data(clock, moments, elapsed, numbers, observed, read.layout, times, values, order)


def _warn_of_times_among_values(table: Any) -> None:
    """Warn where the index of a table of pandas counts its rows, and a column may be the times."""
    if type(table.index).__name__ != "RangeIndex" or len(getattr(table, "columns", [])) < 2:
        return
    for name, column in table.items():
        if len(column) > 2 and column.is_monotonic_increasing and column.is_unique:
            msg = (
                f"`values` have the numbers of their rows as times, but the column {name!r} rises "
                f"from row to row. If it is the times, pass `table.set_index({name!r})`."
            )
            warnings.warn(msg, stacklevel=4)


def like_values(elapsed: Any, values: Array) -> Array:
    """Return what has elapsed as an array of the library of the values."""
    xp = namespace(values=values)
    if namespace(elapsed=elapsed) is xp:
        return cast(Array, elapsed)
    numbers = as_numpy(elapsed)
    wide = wide_dtype(xp, device_of(values))
    return xp.asarray(numbers, dtype=wide, device=device_of(values))


def _taken(x: Any, places: Any) -> Any:
    """Return elements along the last axis, at places in an array of NumPy."""
    if isinstance(x, np.ndarray):
        return x[..., places]
    xp = namespace(x=x)
    return xp.take(x, xp.asarray(places, device=device_of(x)), axis=-1)


def _order(times: Any, *, sort: bool) -> Any:
    """Return the order of the times if it is not theirs.

    Raises
    ------
    ValueError
        If the times decrease and may not be sorted.
    """
    if times.shape[0] < 2:
        return None
    xp = NUMPY if isinstance(times, np.ndarray) else namespace(times=times)
    fall = first_true(times[1:] < times[:-1], xp=xp)
    if fall is None:
        return None
    if not sort:
        place = fall + 1
        msg = (
            f"`times` must not decrease, got {times[place]} in row {place} after "
            f"{times[place - 1]}. Sort the rows, or pass sort=True."
        )
        raise ValueError(msg)
    return np.argsort(np.asarray(times), kind="stable")


def _takes_pairs(frequency: Any) -> bool:
    """Whether columns are taken in pairs."""
    return frequency is None or bool(np.any(as_numpy(frequency) != 0.0))


def _check_level(level: Any, *, paired: bool) -> None:
    """Raise TypeError if the level of real series is complex."""
    if not paired and is_complex(level):
        msg = "`level` must be real for series that are, got a complex one. Pass one number each."
        raise TypeError(msg)
