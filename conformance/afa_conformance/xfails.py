"""Failures that are known and declared, so that they are neither hidden nor in the way."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from afa_conformance.law import Law


class Xfail(NamedTuple):
    """A pattern of laws, such as ``attention/test_units.py::*[60.0]``, and why they fail."""

    pattern: str
    reason: str


def read_xfails(path: str) -> list[Xfail]:
    """Read a file of one pattern a line, each with its reason after ``#``.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If a line has no reason.
    """
    found = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), start=1):
        pattern, _, reason = (part.strip() for part in line.partition("#"))
        if not pattern:
            continue
        if not reason:
            msg = f"{path}:{number}: expected 'LAW  # reason', got {line!r}: say why it fails."
            raise ValueError(msg)
        found.append(Xfail(pattern, reason))
    return found


def mark_xfails(item: pytest.Item, law: Law, xfails: Sequence[Xfail]) -> None:
    """Mark a law as expected to fail; one that passes all the same is a failure."""
    for each in xfails:
        if law.matches(each.pattern):
            item.add_marker(pytest.mark.xfail(reason=each.reason, strict=True))
