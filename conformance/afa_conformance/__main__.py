"""Run the laws: ``python -m afa_conformance --afa-backend NAME [pytest options]``."""

from __future__ import annotations

import sys

import pytest


def main(arguments: list[str] | None = None) -> int:
    """Run pytest on the installed laws, from any folder, and return its exit status."""
    options = sys.argv[1:] if arguments is None else arguments
    laws = ["-p", "afa_conformance.plugin", "--pyargs", "afa_conformance"]
    return int(pytest.main([*laws, *options]))


if __name__ == "__main__":
    sys.exit(main())
