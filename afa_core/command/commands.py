"""The commands: each runs with its options and prints its result."""

from __future__ import annotations

import argparse
import math
from importlib import import_module
from importlib.resources import as_file, files
from pathlib import Path

from afa_core._array.arrays import Array
from afa_core.attention import explain
from afa_core.backend import load, names
from afa_core.command.backends import load_usable
from afa_core.command.column import FilteredColumn, GivenParameters, filter_column
from afa_core.command.csv_table import Table, read_table, refuse_existing, write_table
from afa_core.command.errors import CommandError
from afa_core.command.picture import draw_columns
from afa_core.command.summary import largest_difference, summarise, text_table
from afa_core.model.sde import SDE, DiagonalSDE, IsotropicSDE, Noise, RadialTangentialSDE

PUBLISHED = "process noise 1469.1, measurement noise 15099 (Durbin and Koopman)"


def filter_file(options: argparse.Namespace) -> None:
    """Filter columns of a CSV file: write a table, draw a picture, print a summary."""
    given = GivenParameters(
        decay=options.decay,
        process=options.process_noise,
        measurement=options.measurement_noise,
        query=options.query_noise,
        level=options.level,
        dof=options.dof,
        threshold=options.threshold,
    )
    output = options.output or options.data.with_name(f"{options.data.stem}_filtered.csv")
    backend = load_usable(options.backend, options.device)
    table = read_table(options.data, options.time, options.value, options.delimiter)
    outputs = [output, *([options.plot] if options.plot else [])]
    refuse_existing(outputs, options.data, force=options.force)
    columns = [filter_column(table, name, given, backend, options.device) for name in options.value]
    _write(table, options.time, columns, output, options.plot)
    for column in columns:
        print(summarise(column, table, options.time))
    print("wrote " + " and ".join(str(path) for path in outputs))


def demo(options: argparse.Namespace) -> None:
    """Filter the annual flow of the Nile at Aswan, 1871–1970, on every library installed here."""
    output, plot = options.output / "nile_filtered.csv", options.output / "nile.png"
    with as_file(files("afa_core.command") / "nile.csv") as data:
        table = read_table(data, "year", ["flow"])
        refuse_existing([output, plot], data, force=options.force)
    numpy = load_usable("numpy")
    column = filter_column(table, "flow", GivenParameters(decay=0.0), numpy)
    _write(table, "year", [column], output, plot)
    print(summarise(column, table._replace(source="The Nile at Aswan"), "year"))
    print(f"  published       {PUBLISHED}\n")
    header = ("library", "version", "devices", "greatest difference from NumPy")
    print(text_table(header, _compare(table, column)))
    print(f"\nwrote {output} and {plot}")


def list_backends(_: argparse.Namespace) -> None:
    """Print which array libraries can be used here, and why the others cannot."""
    rows = [
        (each.name, each.version, ", ".join(each.devices), each.unavailable or "usable")
        for each in map(load, names())
    ]
    print(text_table(("library", "version", "devices", "state"), rows))


def explain_shapes(options: argparse.Namespace) -> None:
    """Print which implementation would run for a shape, and why the others would not."""
    backend = load_usable(options.backend)
    queries, modes = options.queries, options.modes
    keys = queries if options.keys is None else options.keys

    def zeros(tokens: int) -> Array:
        return backend.from_numpy(import_module("numpy").zeros((tokens, 2 * modes), "float32"))

    sde, anchor = _sde(options.form), None
    if isinstance(sde, RadialTangentialSDE):
        anchor = zeros(queries)
    try:
        chosen, others, *_ = explain(
            zeros(queries),
            zeros(keys),
            zeros(keys),
            sde,
            anchor=anchor,
            implementation=options.implementation,
        )
    except ValueError as error:
        raise CommandError(str(error)) from error
    print(f"{chosen} would run")
    for name, reason in others.items():
        print(f"{name} would not: {reason}")


def _sde(form: str) -> SDE:
    noise = Noise(1.0, 1.0, 1.0)
    if form == "diagonal":
        return DiagonalSDE(1.0, 0.0, noise)
    if form == "isotropic":
        return IsotropicSDE(1.0, 0.0, noise)
    return RadialTangentialSDE(1.0, 0.0, noise, noise)


def _compare(table: Table, reference: FilteredColumn) -> list[tuple[str, ...]]:
    """Return a row for every registered library, with the difference of its result from NumPy's."""
    given = GivenParameters(
        reference.model.decay,
        reference.model.process,
        reference.model.measurement,
        level=reference.model.level,
    )
    rows: list[tuple[str, ...]] = []
    for name in names():
        backend = load(name)
        if backend.unavailable:
            result = backend.unavailable
        elif name == "numpy":
            result = "the reference"
        else:
            column = filter_column(table, reference.name, given, backend)
            result = f"{largest_difference(column, reference):.1e}"
        rows.append((name, backend.version, ", ".join(backend.devices), result))
    return rows


def _write(
    table: Table, time: str, columns: list[FilteredColumn], output: Path, plot: Path | None
) -> None:
    """Write the table in the order of the file's rows, then the picture."""
    header = [time]
    cells: list[list[str]] = [table.cells[time]]
    for column in columns:
        header += [column.name, *(f"{column.name}_{name}" for name in column.outputs())]
        cells.append(table.cells[column.name])
        for values in column.outputs().values():
            texts = [""] * len(column.rows)
            for row, value in zip(column.rows, values.tolist(), strict=True):
                texts[row] = _cell(value)
            cells.append(texts)
    write_table(output, header, zip(*cells, strict=True))
    if plot is not None:
        draw_columns(plot, time, columns)


def _cell(value: float | bool) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return "" if math.isnan(value) else repr(value)
