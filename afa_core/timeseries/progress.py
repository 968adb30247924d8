"""How a long computation tells of its progress."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

Progress: TypeAlias = Callable[[Iterable[int], str], Iterable[int]]
"""Takes the steps of an iteration and its title, and returns the steps."""


def without_progress(steps: Iterable[int], title: str) -> Iterable[int]:
    """Return the steps."""
    return steps
