"""The columns that the commands write: of estimates beside the measurements, and of forecasts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from afa_core.command.output import PARQUET
from afa_core.command.series import Fitted, time_order
from afa_core.command.table import Table

ESTIMATED = ("mean", "sd", "lower", "upper", "prediction", "prediction_sd", "weight", "outlier")
"""What is written of each column that is filtered or smoothed, as suffixes of its name."""

FORECAST = (
    *("mean", "sd", "measurement_sd", "lower", "upper"),
    *("measurement_lower", "measurement_upper"),
)
"""What is written of each column that is forecast."""


def estimated_columns(
    table: Table, series: Sequence[Fitted], output: str, level: float
) -> dict[str, Any]:
    """Return the time, the values and their estimates, in the order of the table's rows."""
    import numpy as np

    typed = is_typed(output)
    order = time_order(table)
    rows = np.empty_like(order)
    rows[order] = np.arange(len(order))
    columns = {table.time: _times(table, table.times) if typed else table.cells[table.time]}
    for each in series:
        found = each.found
        assert found is not None
        lower, upper = found.interval(level)
        results = {**found._asdict(), "lower": lower, "upper": upper}
        for place, name in enumerate(each.names):
            columns[name] = table.values[name] if typed else table.cells[name]
            for result in ESTIMATED:
                columns[f"{name}_{result}"] = results[result][rows, place]
    return columns


def forecast_columns(
    table: Table, series: Sequence[Fitted], output: str, level: float
) -> dict[str, Any]:
    """Return the times of a forecast, the states and the intervals of measurements."""
    import numpy as np

    columns: dict[str, Any] = {}
    for each in series:
        ahead = each.ahead
        assert ahead is not None
        times = np.asarray(ahead.times)
        columns[table.time] = _times(table, times) if is_typed(output) else _text(table, times)
        lower, upper = ahead.interval(level)
        low, high = ahead.interval(level, of="measurement")
        results = {**ahead._asdict(), "lower": lower, "upper": upper}
        results |= {"measurement_lower": low, "measurement_upper": high}
        for place, name in enumerate(each.names):
            for result in FORECAST:
                columns[f"{name}_{result}"] = np.asarray(results[result])[:, place]
    return columns


def is_typed(output: str) -> bool:
    """Whether the columns of an output have types, so that times are not text."""
    return Path(output).suffix.lower() == PARQUET


def _times(table: Table, times: Any) -> Any:
    """Return times with the zone that those of the table have."""
    import pandas as pd

    if table.dates is None:
        return times
    return pd.DatetimeIndex(times, tz="UTC" if table.dates.zoned else None)


def _text(table: Table, times: Any) -> Any:
    """Return times as numbers, or as dates in ISO 8601, days alone if all of the table are."""
    import numpy as np

    if table.dates is None:
        return times
    for dtype in ("datetime64[D]", "datetime64[s]", times.dtype):
        if all((x.astype(dtype) == x).all() for x in (table.times, times)):
            break
    zone = "Z" if table.dates.zoned and dtype != "datetime64[D]" else ""
    return [f"{text}{zone}" for text in np.datetime_as_string(times.astype(dtype))]
