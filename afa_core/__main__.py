"""The command line: `python -m afa_core filter | demo | backends | explain`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from afa_core.command.errors import CommandError
from afa_core.command.run import demo, explain_shapes, filter_file, list_backends


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code, 2 where the user can mend what went wrong."""
    options = _parser().parse_args(arguments)
    os.environ.setdefault("JAX_ENABLE_X64", "1")
    try:
        options.run(options)
    except CommandError as error:
        print(f"afa_core: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m afa_core", description="Adaptive Filter Attention on real series."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

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
    command.add_argument("--level", type=float, help="what the state decays to")
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

    command = commands.add_parser(
        "demo", help="filter the annual flow of the Nile on every array library found here"
    )
    command.set_defaults(run=demo)
    command.add_argument("--output", type=Path, default=Path(), metavar="FOLDER")
    command.add_argument("--force", action="store_true", help="overwrite outputs")

    command = commands.add_parser("backends", help="say which array libraries can be used here")
    command.set_defaults(run=list_backends)

    command = commands.add_parser("explain", help="say which implementation runs for a shape")
    command.set_defaults(run=explain_shapes)
    command.add_argument("--queries", type=int, default=1024)
    command.add_argument("--keys", type=int, help="default: as many as queries")
    command.add_argument("--modes", type=int, default=64)
    command.add_argument(
        "--form", choices=("isotropic", "diagonal", "radial-tangential"), default="isotropic"
    )
    command.add_argument("--implementation", default="auto")
    command.add_argument("--backend", default="numpy", help="array library (%(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
