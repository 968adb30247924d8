"""Values of series: columns of numbers, of any array library or pandas, with gaps."""

from __future__ import annotations

from copy import deepcopy
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from afa_core._array.arrays import (
    Array,
    Namespace,
    complex_dtype,
    compute_dtype,
    device_of,
    is_array,
    namespace,
    wide_dtype,
)
from afa_core.timeseries.times import first_true


class Layout(NamedTuple):
    """How values were given, and how results of their shape are returned."""

    names: tuple[str, ...]  # of columns
    flat: bool  # whether values are (n,) and not (n, c)
    paired: bool  # whether columns are taken two by two
    complex: bool  # whether values are complex
    index: Any  # of pandas, or None
    pandas: bool  # whether values are of pandas

    @property
    def series(self) -> tuple[str, ...]:
        """Names of the series: of the columns, or of their pairs."""
        if not self.paired or self.complex:
            return self.names
        return tuple(map(", ".join, zip(self.names[::2], self.names[1::2], strict=True)))

    def write(self, x: Array, *, xp: Namespace) -> Any:
        """Return what is complex or real of the series, (s, n), in the shape of the values.

        Of a pair, a complex number is written as its two components, a real one twice.
        """
        table = xp.matrix_transpose(x)  # (n, s)
        if self.paired and not self.complex:
            whole = xp.isdtype(table.dtype, "complex floating")
            parts = [xp.real(table), xp.imag(table)] if whole else [table, table]
            table = xp.reshape(xp.stack(parts, axis=-1), (table.shape[0], -1))
        return self.wrap(table[:, 0] if self.flat else table)

    def wrap(self, x: Any) -> Any:
        """Return an array of the shape of the values as pandas, if they are."""
        if not self.pandas:
            return x
        pandas = import_module("pandas")
        if self.flat:
            return pandas.Series(x, index=self.index, name=self.names[0])
        return pandas.DataFrame(x, index=self.index, columns=list(self.names))


class Values(NamedTuple):
    """Values of s series at n times; zero where nothing is measured."""

    values: Array  # (s, n), complex of pairs
    observed: Array  # (s, n)
    layout: Layout


def read_values(values: Any, rows: int, *, paired: bool) -> Values:
    """Read columns of values, NaN where nothing is measured.

    Raises
    ------
    TypeError
        If they are not numbers.
    ValueError
        If their shape is not that of the times, or some are infinite.
    """
    frame = values if hasattr(values, "index") and hasattr(values, "to_numpy") else None
    names = _names(values, frame)
    data = _numbers(values, frame)
    xp = namespace(values=data)
    whole = xp.isdtype(data.dtype, "complex floating")
    paired = paired or whole
    if data.ndim not in (1, 2) or data.shape[0] != rows:
        msg = (
            f"`values` must have shape ({rows},) or ({rows}, c) to match `times`, "
            f"got {tuple(data.shape)}. Pass one row for each time."
        )
        raise ValueError(msg)
    flat = data.ndim == 1
    columns = data[:, None] if flat else data
    if not columns.shape[1]:
        msg = f"`values` must have a column or more, got shape {tuple(data.shape)}. Pass some."
        raise ValueError(msg)
    names = names or tuple(str(place) for place in range(columns.shape[1]))
    layout = Layout(
        names, flat, paired, whole, None if frame is None else frame.index, frame is not None
    )
    place = first_true(xp.any(xp.isinf(columns), axis=-1), xp=xp)
    if place is not None:
        msg = f"`values` must be finite, or NaN for a gap, got {data[place]} in row {place}."
        raise ValueError(msg)
    if paired and not whole:
        columns = _pairs(columns, xp=xp)
    missing = xp.isnan(columns)
    kept = xp.where(missing, xp.zeros_like(columns), columns)
    observed = xp.logical_not(missing)
    return Values(xp.matrix_transpose(kept), xp.matrix_transpose(observed), layout)


def _names(values: Any, frame: Any) -> tuple[str, ...]:
    """Return the names of the columns of pandas, none of others.

    Raises
    ------
    ValueError
        If a name stands twice.
    """
    if frame is None:
        return ()
    if getattr(frame, "ndim", 1) == 1:
        return ("value" if frame.name is None else str(frame.name),)
    names = tuple(map(str, frame.columns))
    for name in names:
        if names.count(name) > 1:
            msg = f"`values` must have columns of different names, got {name!r} twice. Rename one."
            raise ValueError(msg)
    return names


def _numbers(values: Any, frame: Any) -> Any:
    """Return an array of floating numbers, in single precision at least.

    Raises
    ------
    TypeError
        If values are not numbers.
    """
    if frame is not None:
        dtypes = [values.dtype] if values.ndim == 1 else list(values.dtypes)
        strange = [each for each in dtypes if getattr(each, "kind", "O") not in "iufc"]
        if strange:
            _refuse(strange[0])
        values = values.to_numpy(
            dtype=np.complex128 if any(each.kind == "c" for each in dtypes) else np.float64,
            na_value=np.nan,
        )
    if not is_array(values):
        values = np.asarray(values)
    if isinstance(values, np.ndarray) and values.dtype.kind not in "iufc":
        _refuse(values.dtype)
    xp = namespace(values=values)
    if xp.isdtype(values.dtype, "bool"):
        _refuse(values.dtype)
    if xp.isdtype(values.dtype, "integral"):
        values = xp.astype(values, wide_dtype(xp, device_of(values)))
    if xp.isdtype(values.dtype, "real floating") and xp.finfo(values.dtype).bits < 32:
        values = xp.astype(values, compute_dtype(xp, values))
    return values


def unmasked(values: Any) -> Any:
    """Return a masked array with NaN where it is masked, if it holds numbers."""
    if values.dtype.kind not in "iufc":
        return values
    return np.ma.filled(values.astype(np.result_type(values.dtype, np.float64)), np.nan)


def _refuse(dtype: object) -> None:
    msg = f"`values` must be numbers, got dtype {dtype}. Convert them, with NaN for gaps."
    raise TypeError(msg)


def _pairs(columns: Array, *, xp: Namespace) -> Array:
    """Return pairs of columns as complex numbers, NaN if a component is."""
    count = columns.shape[1]
    if count % 2 or not count:
        msg = (
            f"`values` must have pairs of columns to rotate, (n, 2) or (n, 2c), got {count} "
            "columns. Pass frequency=0.0 for series that do not rotate."
        )
        raise ValueError(msg)
    dtype = complex_dtype(xp, columns.dtype)
    x, y = (xp.astype(columns[:, place::2], dtype) for place in (0, 1))
    missing = xp.logical_or(xp.isnan(columns[:, 0::2]), xp.isnan(columns[:, 1::2]))
    return xp.where(missing, xp.nan, x + 1j * y)


def copied(x: Any) -> Any:
    """Return a copy of times or values, which shares no memory with what a caller may write to."""
    if hasattr(x, "set_axis"):  # of pandas, whose copies share the index
        return x.copy().set_axis(x.index.copy(deep=True))
    if isinstance(x, np.ndarray) or not is_array(x):
        return deepcopy(x)
    return namespace(array=x).asarray(x, copy=True)


def as_numpy(x: Any) -> Any:
    """Return an array as one of NumPy.

    Raises
    ------
    TypeError
        If its library does not convert it.
    """
    try:
        return np.asarray(x)
    except (TypeError, ValueError, RuntimeError) as error:
        msg = f"`fit` takes arrays that NumPy can read, got {type(x).__name__}. Convert it first."
        raise TypeError(msg) from error


def is_complex(x: Any) -> bool:
    """Whether a number or array is complex."""
    if is_array(x):
        return bool(namespace(array=x).isdtype(x.dtype, "complex floating"))
    return isinstance(x, complex)
