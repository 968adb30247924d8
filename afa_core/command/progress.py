"""Progress bars on stderr, shown only for commands that take long."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any, TypeVar

Step = TypeVar("Step")

DELAY = 2.0
"""Seconds before a bar is shown."""


def progress_bar(steps: Iterable[Step], title: str) -> Iterable[Step]:
    """Return the steps, with a bar that shows how many are done."""
    bar: Iterable[Step] = import_module("tqdm").tqdm(steps, desc=title, delay=DELAY, leave=False)
    return bar


def iteration_counter(title: str) -> Callable[[Any], None]:
    """Return a callback that counts its calls in a bar."""
    bar = import_module("tqdm").tqdm(desc=title, delay=DELAY, leave=False, unit="step")

    def count(_: Any) -> None:
        bar.update()

    return count
