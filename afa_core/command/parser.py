"""The command line: its commands and their options."""

from __future__ import annotations

import argparse
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from afa_core.command import options
from afa_core.command.commands import demo, explain_shapes, filter_file, list_backends
from afa_core.command.errors import CommandError

Commands: TypeAlias = "argparse._SubParsersAction[Parser]"


class Parser(argparse.ArgumentParser):
    """A parser whose errors are those of the commands: one line, and exit code 2."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        """Raise the error of the options."""
        msg = f"{message.removesuffix('.')}. See `{self.prog} --help`."
        raise CommandError(msg)


def build_parser() -> Parser:
    """Return the parser; its `run` is the function of the command."""
    parser = Parser(
        prog="python -m afa_core", description="Adaptive Filter Attention on real series."
    )
    parser.add_argument("--version", action="version", version=f"afa-core {version('afa-core')}")
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
    command.add_argument("data", metavar="DATA", help="CSV or Parquet; - is standard input")
    command.add_argument("--time", required=True, metavar="COLUMN")
    command.add_argument("--value", required=True, action="append", metavar="COLUMN")
    command.add_argument("--output", metavar="FILE", help="default: DATA_filtered.csv")
    command.add_argument("--plot", type=Path, metavar="PICTURE", help="also draw a picture")
    _add_layout(command)
    command.add_argument("--decay", type=options.non_negative, help="μ, 1/time; 0 is a random walk")
    command.add_argument("--process-noise", type=options.non_negative, help="σ², value²/time")
    command.add_argument("--measurement-noise", type=options.positive, help="η², value²")
    command.add_argument("--level", type=options.finite, help="value to which the state decays")
    command.add_argument(
        "--dof", type=options.positive, default=4.0, help="of the weight (%(default)s)"
    )
    command.add_argument(
        "--threshold",
        type=options.positive,
        default=3.0,
        help="flag measurements so many predicted standard deviations away (%(default)s)",
    )
    command.add_argument("--backend", default="numpy", help="array library (%(default)s)")
    command.add_argument("--device", help="device of the backend; default: its first")
    command.add_argument("--force", action="store_true", help="overwrite outputs")


def _add_layout(command: Parser) -> None:
    """Add the options of how the text of a table is written."""
    command.add_argument(
        "--sep", type=options.separator, metavar="CHARACTER", help="between cells; default: found"
    )
    command.add_argument("--decimal", choices=(".", ","), help="default: found")
    command.add_argument("--encoding", type=options.encoding, help="default: UTF-8, or cp1252")
    command.add_argument(
        "--date-format", type=options.date_format, metavar="FORMAT", help="such as %%d/%%m/%%Y"
    )


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
    command.add_argument("--queries", type=options.count, default=1024)
    command.add_argument("--keys", type=options.count, help="default: as many as queries")
    command.add_argument("--modes", type=options.count, default=64)
    command.add_argument(
        "--form", choices=("isotropic", "diagonal", "radial-tangential"), default="isotropic"
    )
    command.add_argument("--implementation", default="auto")
    command.add_argument("--backend", default="numpy", help="array library (%(default)s)")
