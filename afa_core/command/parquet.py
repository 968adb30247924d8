"""Tables in Parquet files, whose columns have types."""

from __future__ import annotations

import io
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from afa_core.command.columns import check_header
from afa_core.command.errors import CommandError
from afa_core.command.numeric import Place
from afa_core.command.rows import Rows

NOTHING = "expected a time, got nothing. Remove the row."


def is_parquet(content: bytes) -> bool:
    """Whether the content of a file is Parquet."""
    return content.startswith(b"PAR1")


def require_pyarrow(path: str) -> None:
    """Raise CommandError if the library for Parquet files is not installed."""
    if find_spec("pyarrow") is None:
        msg = f"{path}: is Parquet, which needs pyarrow: pip install pyarrow, or use CSV."
        raise CommandError(msg)


def read_columns(content: bytes, source: str, columns: Sequence[str]) -> Rows:
    """Return chosen columns: as cells of text if they hold text, dates or decimals, else typed.

    Raises
    ------
    CommandError
        If the file is damaged, or a column is not in it.
    """
    import pandas as pd

    require_pyarrow(source)
    try:
        frame = pd.read_parquet(io.BytesIO(content), engine="pyarrow")
    except (OSError, ValueError) as error:
        msg = f"{source}: is a damaged Parquet file: {error}."
        raise CommandError(msg) from error
    named = any(name is not None for name in frame.index.names)
    frame = frame.reset_index(drop=not named, allow_duplicates=True)
    header = tuple(map(str, frame.columns))
    check_header(header, source, columns)
    cells = {name: frame.iloc[:, header.index(name)] for name in columns}
    texts = {name: _as_text(cell) if _holds_text(cell) else cell for name, cell in cells.items()}
    return Rows(header, ",", texts, range(1, len(frame) + 1))


def _holds_text(column: Any) -> bool:
    import pandas as pd

    return bool(column.dtype == object or isinstance(column.dtype, pd.StringDtype))


def _as_text(column: Any) -> list[str]:
    return [
        "" if missing else str(cell) for cell, missing in zip(column, column.isna(), strict=True)
    ]


def typed_values(column: Any, place: Place) -> Any:
    """Return a column of numbers as float64, NaN where one is missing.

    Raises
    ------
    CommandError
        If its type is not a number, or a number is infinite.
    """
    import numpy as np

    if column.dtype.kind not in "iuf":
        msg = f"{place(0)}: expected a column of numbers, got one of {column.dtype}."
        raise CommandError(msg)
    values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    if (infinite := np.isinf(values)).any():
        index = int(infinite.argmax())
        msg = f'{place(index)}: expected a number or an empty cell, got "{values[index]}".'
        raise CommandError(msg)
    return values


def typed_times(column: Any, place: Place) -> tuple[Any, bool | None]:
    """Return a column of times, and whether it has a zone; None if it holds numbers.

    Raises
    ------
    CommandError
        If its type is neither a number nor a date, or a cell is missing.
    """
    import numpy as np

    missing = column.isna()
    if missing.any():
        raise CommandError(f"{place(int(missing.argmax()))}: {NOTHING}")
    if column.dtype.kind == "M":
        zoned = column.dt.tz is not None
        times = column.dt.tz_convert(None) if zoned else column
        return times.to_numpy(), zoned
    if column.dtype.kind in "iu":
        return column.to_numpy(dtype=np.int64), None
    return typed_values(column, place), None
