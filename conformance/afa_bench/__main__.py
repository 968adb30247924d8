"""The command line: ``python -m afa_bench`` measures time and memory on your own shapes."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from afa_bench.command import bench
from afa_bench.setting import DTYPES, FORMS, WEIGHTINGS
from afa_core.command.errors import CommandError


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure one setting; return the exit code, 2 where an option or a file is at fault."""
    options = _parser().parse_args(arguments)
    os.environ.setdefault("JAX_ENABLE_X64", "1")
    try:
        bench(options)
    except CommandError as error:
        print(f"afa_bench: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(
        prog="python -m afa_bench",
        description="Measure time and memory of attention beside rivals. They run in turn on the "
        "same inputs in one process; every measurement of memory has a process of its own.",
    )
    command.add_argument("--backend", default="numpy", help="array library (%(default)s)")
    command.add_argument("--device", default="", help="device of the backend; default: its first")
    command.add_argument("--form", default="isotropic", help=f"one of {', '.join(FORMS)}")
    command.add_argument("--weighting", default="student", help=f"one of {', '.join(WEIGHTINGS)}")
    for name, size, meaning in (
        ("batch", 1, "leading axis before the heads"),
        ("heads", 8, "heads"),
        ("tokens", 1024, "length of the sequence"),
        ("modes", 64, "complex modes d of a head, 2d real channels"),
        ("repeats", 7, "rounds of timing"),
    ):
        command.add_argument(f"--{name}", type=int, default=size, help=f"{meaning} (%(default)s)")
    command.add_argument("--dtype", default="float32", help=f"one of {', '.join(DTYPES)}")
    command.add_argument("--backward", action="store_true", help="time the gradients too")
    command.add_argument("--implementation", default="auto", help="as in afa_core.attention")
    command.add_argument(
        "--rival",
        action="append",
        default=[],
        metavar="NAME",
        help="sdpa, flex (torch), dot_product_attention (jax), products, published, "
        "published-folded, isotropic, or another implementation; may be repeated",
    )
    command.add_argument("--no-memory", action="store_true", help="measure time alone")
    command.add_argument("--output", type=Path, metavar="JSON", help="also write the record")
    command.add_argument("--force", action="store_true", help="overwrite the output")
    return command


if __name__ == "__main__":
    sys.exit(main())
