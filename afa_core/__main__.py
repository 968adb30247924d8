"""The command line: `python -m afa_core filter | demo | backends | explain`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from afa_core.command.errors import CommandError
from afa_core.command.parser import build_parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code, 2 for an error that its user can correct."""
    options = build_parser().parse_args(arguments)
    os.environ.setdefault("JAX_ENABLE_X64", "1")
    try:
        options.run(options)
    except CommandError as error:
        print(f"afa_core: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
