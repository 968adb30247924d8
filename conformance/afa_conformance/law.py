"""A law as pytest collects it: its name, its case, and what it demands."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import pytest

LAWS = Path(__file__).parent / "laws"


class Law(NamedTuple):
    """One case of a law.

    Parameters
    ----------
    name : str
        File under `laws` and function, ``attention/test_units.py::test_unit_of_time``.
    case : str
        The same with the parameters of the case, ``…::test_unit_of_time[60.0]``.
    title : str
        First line of the file's docstring.
    statement : str
        Docstring of the function, in one line.
    """

    name: str
    case: str
    title: str
    statement: str

    @property
    def group(self) -> str:
        """Name of its folder."""
        return self.name.partition("/")[0]

    def matches(self, pattern: str) -> bool:
        """Return whether a pattern matches its name or its case; brackets are literal."""
        return self.name == pattern or fnmatchcase(self.case, pattern.replace("[", "[[]"))


def may_hold(path: Path, pattern: str) -> bool:
    """Return whether a file may hold laws that a pattern matches, by how the pattern begins."""
    start = re.split(r"[*?]", pattern, maxsplit=1)[0]
    name = f"{path.relative_to(LAWS).as_posix()}::"
    return name.startswith(start) or start.startswith(name)


def law_of(item: pytest.Item) -> Law | None:
    """Return the law of a test; None if it is some other test."""
    if not isinstance(item, pytest.Function) or LAWS not in item.path.parents:
        return None
    case = f"{item.path.relative_to(LAWS).as_posix()}::{item.name}"
    statement = " ".join((item.function.__doc__ or "").split())
    return Law(case.partition("[")[0], case, _first_line(item.module.__doc__), statement)


def _first_line(text: str | None) -> str:
    return next((line.strip() for line in (text or "").splitlines() if line.strip()), "")
