"""The commands `filter`, `smooth` and `forecast`: read, fit, estimate, write, print, draw."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from afa_core.command.backends import load_usable
from afa_core.command.columns import check_distinct, check_results
from afa_core.command.errors import CommandError
from afa_core.command.output import STANDARD_OUTPUT, check_outputs, write_table
from afa_core.command.picture import draw
from afa_core.command.results import ESTIMATED, FORECAST, estimated_columns, forecast_columns
from afa_core.command.series import (
    Fitted,
    Model,
    estimate,
    fit_columns,
    forecast,
    times_until,
)
from afa_core.command.source import STANDARD_INPUT
from afa_core.command.summary import summarise
from afa_core.command.table import Layout, Table, read_moments, read_table


def filter_series(options: Namespace) -> None:
    """Estimate states from the measurements up to each time."""
    if options.weights and options.plot is None:
        msg = "argument --weights: is a part of the picture; name one by --plot."
        raise CommandError(msg)
    _estimate(options, "filter", "filtered", weights=options.weights)


def smooth_series(options: Namespace) -> None:
    """Estimate states from all measurements."""
    _estimate(options, "smooth", "smoothed")


def forecast_series(options: Namespace) -> None:
    """Forecast states and measurements after the last row."""
    model = _model(options)
    output, table = _read(options, model, "forecast")
    check_results(table.source, [table.time], model.columns, FORECAST)
    series = fit_columns(table, model)
    if options.steps is not None:
        ahead = options.steps
    elif options.until is not None:
        ahead = times_until(series[0], table, options.until)
    else:
        ahead = read_moments(options.at, table, "--at")
    series = forecast(series, table, ahead)
    if options.plot is not None:
        numpy = load_usable("numpy")
        series = [estimate(each, table, "filter", numpy) for each in series]
    columns = forecast_columns(table, series, output, options.interval)
    _write(options, output, table, columns, series)


def _estimate(options: Namespace, kind: str, done: str, *, weights: bool = False) -> None:
    """Filter or smooth."""
    model = _model(options)
    backend = load_usable(options.backend, options.device)
    output, table = _read(options, model, done)
    check_results(table.source, table.header, model.columns, ESTIMATED)
    series = [
        estimate(each, table, kind, backend, options.device) for each in fit_columns(table, model)
    ]
    columns = estimated_columns(table, series, output, options.interval)
    _write(options, output, table, columns, series, weights=weights)


def _model(options: Namespace) -> Model:
    """Return the columns and parameters that the options name.

    Raises
    ------
    CommandError
        If there are no columns, one is named twice, or an option goes with pairs or with single
        columns only.
    """
    pairs = tuple(name for pair in options.pair for name in pair)
    if not options.value and not pairs:
        msg = "the following arguments are required: --value or --pair."
        raise CommandError(msg)
    if options.frequency is not None and not pairs:
        msg = "argument --frequency: is of two columns that rotate; name them by --pair X Y."
        raise CommandError(msg)
    if options.level is not None and pairs:
        msg = "argument --level: is of single columns; leave it out, and a --pair has its own."
        raise CommandError(msg)
    model = Model(
        values=tuple(options.value),
        pairs=pairs,
        decay=options.decay,
        process=options.process_noise,
        measurement=options.measurement_noise,
        level=options.level,
        frequency=options.frequency,
        dof=options.dof,
        robust=options.robust,
        threshold=options.threshold,
        window=options.window,
        unit=options.unit,
    )
    check_distinct(options.time, model.columns)
    return model


def _read(options: Namespace, model: Model, done: str) -> tuple[str, Table]:
    """Check outputs before any work, and read the table."""
    output = options.output or _default_output(options.data, done)
    check_outputs(output, options.plot, options.data, force=options.force)
    layout = Layout(options.sep, options.decimal, options.encoding, options.date_format)
    return output, read_table(options.data, options.time, model.columns, layout)


def _write(
    options: Namespace,
    output: str,
    table: Table,
    columns: Mapping[str, Any],
    series: Sequence[Fitted],
    *,
    weights: bool = False,
) -> None:
    """Write the table and the picture, and print a summary where the table is not printed."""
    write_table(output, columns, table.separator, table.decimal)
    report = sys.stderr if output == STANDARD_OUTPUT else sys.stdout
    print(summarise(table, series), file=report)
    if options.plot is not None:
        draw(options.plot, table.time, series, level=options.interval, weights=weights)
    wrote = [str(x) for x in (output, options.plot) if x not in (None, STANDARD_OUTPUT)]
    if wrote:
        print("wrote " + " and ".join(wrote), file=report)


def _default_output(data: str, done: str) -> str:
    """Return where a table goes by default: beside its file, or to standard output."""
    if data == STANDARD_INPUT:
        return STANDARD_OUTPUT
    path = Path(data)
    return str(path.with_name(f"{path.name.split('.')[0]}_{done}.csv"))
