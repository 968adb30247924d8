"""Progress bars that appear only where a wait is noticed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

DELAY = 2.0  # seconds


def progress(steps: Iterable[int], title: str) -> Iterable[int]:
    """Return the steps, shown as a bar on stderr once they take more than two seconds."""
    bar: Iterable[int] = import_module("tqdm").tqdm(steps, desc=title, delay=DELAY, leave=False)
    return bar


def ticker(title: str) -> Callable[[Any], None]:
    """Return a callback that counts its calls, on stderr, after two seconds."""
    bar = import_module("tqdm").tqdm(desc=title, delay=DELAY, leave=False, unit="step")

    def tick(_: Any) -> None:
        bar.update()

    return tick
