"""Progress bars on stderr, shown on terminals only, for what takes long."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import TypeVar

Step = TypeVar("Step")

DELAY = 2.0
"""Seconds before a bar is shown."""


def progress_bar(steps: Iterable[Step], title: str) -> Iterable[Step]:
    """Return the steps, with a bar that shows how many are done."""
    tqdm = import_module("tqdm").tqdm
    bar: Iterable[Step] = tqdm(steps, desc=title, delay=DELAY, leave=False, disable=None)
    return bar
