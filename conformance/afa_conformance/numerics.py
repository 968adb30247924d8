"""Numerical derivatives and sampling that several laws share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def derivative(function: Callable[[Any], Any], at: Any, step: Any) -> Any:
    """Return f′ by the sixth-order central difference, element by element."""
    total = 0.0
    for count, weight in ((1, 45.0), (2, -9.0), (3, 1.0)):
        total = total + weight * (function(at + count * step) - function(at - count * step))
    return total / (60.0 * step)
