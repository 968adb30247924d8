"""The command line: `python -m afa_core COMMAND`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from afa_core.command.console import discard_output, one_line, replace_unknown_characters
from afa_core.command.errors import CommandError
from afa_core.command.parser import build_parser

LIBRARIES = ("matplotlib", "numpy", "pandas", "scipy", "tqdm")
"""What the extra `cli` installs."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code, 2 for an error that its user can correct."""
    replace_unknown_characters()
    os.environ.setdefault("JAX_ENABLE_X64", "1")
    try:
        code = _run(arguments)
        print(end="", flush=True)
    except BrokenPipeError:
        discard_output()
        return 141  # as of a process that SIGPIPE ended
    except OSError as error:
        if error.filename is not None:
            raise
        code = _fail(f"standard output: cannot be written: {error.strerror}.")
        discard_output()
    except KeyboardInterrupt:
        return 130
    return code


def _run(arguments: Sequence[str] | None) -> int:
    try:
        options = build_parser().parse_args(arguments)
        options.run(options)
    except CommandError as error:
        return _fail(str(error))
    except ModuleNotFoundError as error:
        if error.name not in LIBRARIES:
            raise
        return _fail(f"needs {error.name}, which is not installed: pip install 'afa-core[cli]'.")
    except SystemExit:  # of --help and --version
        return 0
    return 0


def _fail(message: str) -> int:
    print(f"afa_core: {one_line(message)}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
