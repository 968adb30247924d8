"""The command line: ``python -m afa_bench`` measures time and memory of one problem size."""

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
    """Measure one setting.

    Returns
    -------
    int
        Exit status: 0, or 2 for an invalid option or a file that cannot be written.
    """
    options = _parser().parse_args(arguments)
    os.environ.setdefault("JAX_ENABLE_X64", "1")
    try:
        bench(options)
    except CommandError as error:
        print(f"afa_bench: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m afa_bench",
        description="Measure time and peak memory of attention in comparison with baselines. "
        "All candidates are timed alternately in one process on the same inputs; each "
        "measurement of memory runs in a fresh process.",
    )
    parser.add_argument("--backend", default="numpy", help="array library (%(default)s)")
    parser.add_argument("--device", default="", help="device of the backend; default: its first")
    parser.add_argument("--form", default="isotropic", help=f"one of {', '.join(FORMS)}")
    parser.add_argument("--weighting", default="student", help=f"one of {', '.join(WEIGHTINGS)}")
    for name, size, meaning in (
        ("batch", 1, "leading axis before the heads"),
        ("heads", 8, "heads"),
        ("tokens", 1024, "length of the sequence"),
        ("modes", 64, "complex modes d per head, 2d real channels"),
        ("threads", 0, "threads of torch, Numba and BLAS, 0 for as many as they choose"),
        ("repeats", 7, "rounds of timing"),
    ):
        parser.add_argument(f"--{name}", type=int, default=size, help=f"{meaning} (%(default)s)")
    parser.add_argument("--dtype", default="float32", help=f"one of {', '.join(DTYPES)}")
    parser.add_argument("--backward", action="store_true", help="include the gradients")
    parser.add_argument("--irregular", action="store_true", help="random times of the tokens")
    parser.add_argument("--correlated", action="store_true", help="correlated keys")
    parser.add_argument("--implementation", default="auto", help="as in afa_core.attention")
    parser.add_argument(
        "--baseline",
        action="append",
        default=[],
        metavar="NAME",
        help="sdpa, flex (torch), dot_product_attention (jax), products, published, "
        "published-folded, isotropic, regular, or another implementation; may be repeated",
    )
    parser.add_argument("--no-memory", action="store_true", help="measure time only")
    parser.add_argument("--output", type=Path, metavar="JSON", help="also write the record")
    parser.add_argument("--force", action="store_true", help="overwrite the output")
    return parser


if __name__ == "__main__":
    sys.exit(main())
