"""What may be drawn in a run: what the implementation supports, in which dtype, how many shapes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import pytest

UNSUPPORTED = "unsupported: "
"""Begins the reason of a skip that is reported as unsupported."""

Supports: TypeAlias = Mapping[str, tuple[Any, ...]]
"""From a field of `Description` to the values of it that an implementation can run."""


@dataclass(frozen=True)
class Limits:
    """What descriptions are drawn from in a run.

    Parameters
    ----------
    supports : mapping
        From a field of `Description` to the values that the implementation can run.
    dtype : str
    few_shapes : bool
        Whether to draw few shapes, since every new one is compiled.
    batch : int
        How many problems of one shape a law is put to at once; 0: each is drawn by itself.
    shape : int or None
        The one of `shapes.SHAPES` that all problems have; None draws a shape for each.
    """

    supports: Supports = field(default_factory=dict)
    dtype: str = "float64"
    few_shapes: bool = False
    batch: int = 0
    shape: int | None = None

    def keep(self, name: str, choices: Iterable[Any]) -> list[Any]:
        """Return the choices of a field that are supported; skip the law if there is none."""
        choices = list(choices)
        kept = [each for each in choices if each in self.supports.get(name, choices)]
        if choices and not kept:
            skip_unsupported(f"{name} {' or '.join(repr(each) for each in choices)}")
        return kept


def without(value: Any, name: str, choices: tuple[Any, ...], supports: Supports) -> Supports:
    """Return what is supported, less one value of a field."""
    kept = tuple(each for each in supports.get(name, choices) if each != value)
    return dict(supports) | {name: kept}


def skip_unsupported(what: str) -> None:
    """Skip the law that is running; it is reported as unsupported, not as passed."""
    pytest.skip(f"{UNSUPPORTED}{what}")
