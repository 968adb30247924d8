"""The commands: each runs with its options and prints its result."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from importlib.resources import as_file, files
from pathlib import Path

from afa_core._array.arrays import Array
from afa_core.attention import explain
from afa_core.backend import load, names
from afa_core.command.backends import load_usable
from afa_core.command.column import FilteredColumn, GivenParameters, filter_column
from afa_core.command.columns import check_distinct, check_results
from afa_core.command.errors import CommandError
from afa_core.command.output import STANDARD_OUTPUT, check_outputs, write_table
from afa_core.command.picture import draw_columns
from afa_core.command.source import STANDARD_INPUT
from afa_core.command.summary import largest_difference, summarise, text_table
from afa_core.command.table import Layout, Table, read_table
from afa_core.model.sde import SDE, DiagonalSDE, IsotropicSDE, Noise, RadialTangentialSDE

PUBLISHED = "process noise 1469.1, measurement noise 15099 (Durbin and Koopman)"


def filter_file(options: argparse.Namespace) -> None:
    """Filter columns of a CSV file: write a table, draw a picture, print a summary."""
    given = GivenParameters(
        decay=options.decay,
        process=options.process_noise,
        measurement=options.measurement_noise,
        level=options.level,
        dof=options.dof,
        threshold=options.threshold,
    )
    check_distinct(options.time, options.value)
    output = options.output or _default_output(options.data)
    check_outputs(output, options.plot, options.data, force=options.force)
    backend = load_usable(options.backend, options.device)
    layout = Layout(options.sep, options.decimal, options.encoding, options.date_format)
    table = read_table(options.data, options.time, options.value, layout)
    check_results(
        table.header,
        table.source,
        options.value,
        ("estimate", "std", "weight", "outlier", "prediction"),
    )
    columns = [filter_column(table, name, given, backend, options.device) for name in options.value]
    _write(table, options.time, columns, output, options.plot)
    report = sys.stderr if output == STANDARD_OUTPUT else sys.stdout
    for note in table.notes:
        print(f"{table.source}: {note}", file=report)
    for column in columns:
        print(summarise(column, table, options.time), file=report)
    outputs = (output, options.plot)
    wrote = [str(path) for path in outputs if path not in (None, STANDARD_OUTPUT)]
    if wrote:
        print("wrote " + " and ".join(wrote), file=report)


def _default_output(data: str) -> str:
    """Return where a table goes by default: beside its file, or to standard output."""
    if data == STANDARD_INPUT:
        return STANDARD_OUTPUT
    path = Path(data)
    return str(path.with_name(f"{path.name.split('.')[0]}_filtered.csv"))


def demo(options: argparse.Namespace) -> None:
    """Filter the annual flow of the Nile at Aswan, 1871–1970, on every library installed here."""
    output, plot = str(options.output / "nile_filtered.csv"), options.output / "nile.png"
    check_outputs(output, plot, None, force=options.force)
    with as_file(files("afa_core.command") / "nile.csv") as data:
        table = read_table(str(data), "year", ["flow"], Layout())
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
    table: Table, time: str, columns: list[FilteredColumn], output: str, plot: Path | None
) -> None:
    """Write the table in the order of the file's rows, then the picture."""
    cells = {time: table.cells[time]}
    for column in columns:
        cells[column.name] = table.cells[column.name]
        for name, found in column.outputs().items():
            cells[f"{column.name}_{name}"] = found[_inverse(column.rows)]
    write_table(output, cells, table.separator, table.decimal)
    if plot is not None:
        draw_columns(plot, time, columns)


def _inverse(rows: list[int]) -> list[int]:
    """Return the inverse of a permutation."""
    return sorted(range(len(rows)), key=rows.__getitem__)
