"""The command line: its commands and their options."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TypeAlias

from afa_core.command.commands import demo, explain_shapes, filter_file, list_backends

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; its `run` is the function of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m afa_core", description="Adaptive Filter Attention on real series."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_filter(commands)
    _add_demo(commands)
    _add_backends(commands)
    _add_explain(commands)
    return parser


def _add_filter(commands: Commands) -> None:
    """Add the command that filters columns of a file."""
    command = commands.add_parser(
        "filter",
        help="filter a noisy, possibly irregular series with gaps and outliers",
        description="Filter columns of a CSV file with attention (robust) and with the exact "
        "Kalman filter. Parameters that are not given are fitted by maximum likelihood.",
    )
    command.set_defaults(run=filter_file)
    command.add_argument("data", type=Path, metavar="DATA.csv")
    command.add_argument("--time", required=True, metavar="COLUMN")
    command.add_argument("--value", required=True, action="append", metavar="COLUMN")
    command.add_argument("--output", type=Path, metavar="CSV", help="default: DATA_filtered.csv")
    command.add_argument("--plot", type=Path, metavar="PNG", help="also draw a picture")
    command.add_argument("--delimiter", default=",", metavar="CHARACTER")
    command.add_argument("--decay", type=float, help="μ, 1/time; 0 is a random walk")
    command.add_argument("--process-noise", type=float, help="σ², value²/time")
    command.add_argument("--measurement-noise", type=float, help="η², value²")
    command.add_argument("--query-noise", type=float, help="γ², value²; default: η²")
    command.add_argument("--level", type=float, help="value to which the state decays")
    command.add_argument("--dof", type=float, default=4.0, help="of the weight (%(default)s)")
    command.add_argument(
        "--threshold",
        type=float,
        default=3.0,
        help="flag measurements so many predicted standard deviations away (%(default)s)",
    )
    command.add_argument("--backend", default="numpy", help="array library (%(default)s)")
    command.add_argument("--device", help="device of the backend; default: its first")
    command.add_argument("--force", action="store_true", help="overwrite outputs")


def _add_demo(commands: Commands) -> None:
    """Add the demonstration on the Nile."""
    command = commands.add_parser(
        "demo",
        help="filter the annual flow of the Nile on every array library that is installed here",
    )
    command.set_defaults(run=demo)
    command.add_argument("--output", type=Path, default=Path(), metavar="FOLDER")
    command.add_argument("--force", action="store_true", help="overwrite outputs")


def _add_backends(commands: Commands) -> None:
    """Add the list of backends."""
    command = commands.add_parser("backends", help="list the array libraries that can be used here")
    command.set_defaults(run=list_backends)


def _add_explain(commands: Commands) -> None:
    """Add the explanation of the choice of an implementation."""
    command = commands.add_parser("explain", help="show which implementation runs for a shape")
    command.set_defaults(run=explain_shapes)
    command.add_argument("--queries", type=int, default=1024)
    command.add_argument("--keys", type=int, help="default: as many as queries")
    command.add_argument("--modes", type=int, default=64)
    command.add_argument(
        "--form", choices=("isotropic", "diagonal", "radial-tangential"), default="isotropic"
    )
    command.add_argument("--implementation", default="auto")
    command.add_argument("--backend", default="numpy", help="array library (%(default)s)")
