"""The command line: its commands and their options."""

from __future__ import annotations

import argparse
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from afa_core.command import options
from afa_core.command.commands import explain_shapes, list_backends, warm_up
from afa_core.command.demo import demo
from afa_core.command.errors import CommandError
from afa_core.command.flow import filter_series, forecast_series, smooth_series

Commands: TypeAlias = "argparse._SubParsersAction[Parser]"

UNITS = ("W", "D", "h", "m", "s", "ms", "us", "ns")


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
    _add_smooth(commands)
    _add_forecast(commands)
    _add_demo(commands)
    _add_backends(commands)
    _add_explain(commands)
    _add_warm_up(commands)
    return parser


def _add_filter(commands: Commands) -> None:
    """Add the command that filters columns of a table."""
    command = commands.add_parser(
        "filter",
        help="estimate each state of a series from the measurements up to it",
        description="Estimate the state of noisy, possibly irregular series with gaps and "
        "outliers, at each time from the measurements up to it. Parameters that are not given are "
        "fitted.",
    )
    command.set_defaults(run=filter_series)
    _add_table(command, "DATA_filtered.csv")
    _add_model(command)
    _add_library(command)
    command.add_argument("--weights", action="store_true", help="draw attention weights too")


def _add_smooth(commands: Commands) -> None:
    """Add the command that smooths columns of a table."""
    command = commands.add_parser(
        "smooth",
        help="estimate each state of a series from all measurements",
        description="Estimate the state of noisy, possibly irregular series with gaps and "
        "outliers, at each time from all measurements. Parameters that are not given are fitted.",
    )
    command.set_defaults(run=smooth_series)
    _add_table(command, "DATA_smoothed.csv")
    _add_model(command)
    _add_library(command)


def _add_forecast(commands: Commands) -> None:
    """Add the command that forecasts columns of a table."""
    command = commands.add_parser(
        "forecast",
        help="forecast a series after its last row",
        description="Forecast states and measurements of noisy, possibly irregular series with "
        "gaps and outliers. Parameters that are not given are fitted.",
    )
    command.set_defaults(run=forecast_series)
    ahead = command.add_mutually_exclusive_group(required=True)
    ahead.add_argument("--steps", type=options.count, metavar="N", help="steps ahead")
    ahead.add_argument("--until", metavar="TIME", help="step by step up to this time")
    ahead.add_argument("--at", nargs="+", metavar="TIME", help="at these times")
    _add_table(command, "DATA_forecast.csv")
    _add_model(command)


def _add_table(command: Parser, output: str) -> None:
    """Add the options of what is read, how it is written, and what is written."""
    command.add_argument("data", metavar="DATA", help="CSV or Parquet; - is standard input")
    command.add_argument("--time", required=True, metavar="COLUMN", help="numbers or dates")
    command.add_argument(
        "--value", action="append", default=[], metavar="COLUMN", help="may be repeated"
    )
    command.add_argument(
        "--pair",
        nargs=2,
        action="append",
        default=[],
        metavar=("X", "Y"),
        help="two columns as one rotating state; may be repeated",
    )
    command.add_argument(
        "--output", metavar="FILE", help=f"CSV or Parquet; - is standard output ({output})"
    )
    command.add_argument("--plot", type=Path, metavar="PICTURE", help="draw a picture too")
    command.add_argument("--force", action="store_true", help="overwrite outputs")
    command.add_argument(
        "--sep", type=options.separator, metavar="CHARACTER", help="between cells; default: found"
    )
    command.add_argument("--decimal", choices=(".", ","), help="default: found")
    command.add_argument("--encoding", type=options.encoding, help="default: UTF-8, or cp1252")
    command.add_argument(
        "--date-format", type=options.date_format, metavar="FORMAT", help="such as %%d/%%m/%%Y"
    )


def _add_model(command: Parser) -> None:
    """Add the parameters of the model, which are fitted where they are not given."""
    command.add_argument("--decay", type=options.non_negative, help="μ, 1/time; 0 is a random walk")
    command.add_argument(
        "--process-noise", type=options.non_negative, metavar="VARIANCE", help="σ², value²/time"
    )
    command.add_argument(
        "--measurement-noise", type=options.positive, metavar="VARIANCE", help="η², value²"
    )
    command.add_argument("--level", type=options.finite, help="value to which the state reverts")
    command.add_argument("--frequency", type=options.nonzero, help="ω of a --pair, radians/time")
    command.add_argument(
        "--unit",
        choices=UNITS,
        default="D",
        help="of time in the parameters where times are dates (%(default)s)",
    )
    command.add_argument(
        "--robust",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="whether outliers are weighted down; otherwise the exact filter (%(default)s)",
    )
    command.add_argument(
        "--dof", type=options.positive, default=4.0, help="of the robust weight (%(default)s)"
    )
    command.add_argument(
        "--threshold",
        type=options.positive,
        default=3.5,
        help="standardised residual beyond which a measurement is an outlier (%(default)s)",
    )
    command.add_argument(
        "--window",
        type=options.count,
        default=8192,
        metavar="N",
        help="measurements on a side that suffice for an estimate (%(default)s)",
    )
    command.add_argument(
        "--interval",
        type=options.probability,
        default=0.95,
        metavar="SHARE",
        help="of the intervals (%(default)s)",
    )


def _add_library(command: Parser) -> None:
    """Add the options of where estimates are computed."""
    command.add_argument("--backend", default="numpy", help="array library (%(default)s)")
    command.add_argument("--device", help="device of the backend; default: its first")


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


def _add_warm_up(commands: Commands) -> None:
    """Add the compilation of attention ahead of its first call."""
    command = commands.add_parser(
        "warm-up",
        help="compile the loops of attention on a CPU ahead of their first call, and keep them",
    )
    command.set_defaults(run=warm_up)


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
