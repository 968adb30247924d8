"""The demonstration: the annual flow of the Nile at Aswan, on every array library."""

from __future__ import annotations

from argparse import Namespace
from importlib.resources import as_file, files

from afa_core.backend import load, names
from afa_core.command.backends import load_usable
from afa_core.command.output import check_outputs, write_table
from afa_core.command.picture import draw
from afa_core.command.results import estimated_columns
from afa_core.command.series import COMPUTED, Fitted, Model, estimate, fit_columns, forecast
from afa_core.command.summary import summarise, text_table
from afa_core.command.table import Layout, Table, read_table

LEVEL = 0.95
"""Of the intervals."""

YEARS = 10
"""Of the forecast."""

PUBLISHED = "published: process 1469.1, measurement 15099 (Durbin and Koopman)"


def demo(options: Namespace) -> None:
    """Filter and forecast the flow of the Nile, 1871–1970, on every library installed here."""
    output, plot = str(options.output / "nile_filtered.csv"), options.output / "nile.png"
    check_outputs(output, plot, None, force=options.force)
    with as_file(files("afa_core.command") / "nile.csv") as data:
        table = read_table(str(data), "year", ["flow"], Layout())
    table = table._replace(source="The Nile at Aswan")
    model = Model(("flow",))
    fitted = fit_columns(table, model)
    series = [estimate(each, table, "filter", load_usable("numpy")) for each in fitted]
    series = forecast(series, table, YEARS)
    write_table(output, estimated_columns(table, series, output, LEVEL), ",", ".")
    draw(plot, table.time, series, level=LEVEL, weights=True)
    print(summarise(table, series))
    (walk,) = fit_columns(table, model._replace(decay=0.0, robust=False))
    print("\nAs a random walk, by the exact filter:\n" + walk.model.summary())
    print(f"  {PUBLISHED}\n")
    header = ("library", "version", "devices", "greatest difference from NumPy")
    print(text_table(header, _compare(table, series[0])))
    print(f"\nwrote {output} and {plot}")


def _compare(table: Table, reference: Fitted) -> list[tuple[str, ...]]:
    """Return a row for every registered library, with the difference of its result from NumPy's."""
    rows: list[tuple[str, ...]] = []
    for name in names():
        backend = load(name)
        if backend.unavailable:
            result = backend.unavailable
        elif name == "numpy":
            result = "the reference"
        else:
            found = estimate(reference, table, "filter", backend)
            result = f"{_largest_difference(found, reference):.1e}"
        rows.append((name, backend.version, ", ".join(backend.devices), result))
    return rows


def _largest_difference(fitted: Fitted, reference: Fitted) -> float:
    """Return the largest difference of two results, relative to the largest reference value."""
    import numpy as np

    differences = []
    for name in COMPUTED:
        found, expected = (
            np.nan_to_num(np.asarray(getattr(each.found, name), dtype=np.float64))
            for each in (fitted, reference)
        )
        differences.append(np.max(np.abs(found - expected)) / (np.max(np.abs(expected)) or 1.0))
    return float(max(differences))
