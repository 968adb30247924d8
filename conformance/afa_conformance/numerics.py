"""Numerical derivatives, exponents and random numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray


def derivative(function: Callable[[Any], Any], at: Any, step: Any) -> Any:
    """Return f′ by the sixth-order central difference, element by element."""
    total = 0.0
    for count, weight in ((1, 45.0), (2, -9.0), (3, 1.0)):
        total = total + weight * (function(at + count * step) - function(at - count * step))
    return total / (60.0 * step)


def complex_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[Any]:
    """Draw circular complex normal numbers, E|z|² = 1."""
    return np.asarray((rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2.0))


def unitary(rng: np.random.Generator, size: int) -> NDArray[Any]:
    """Draw a unitary matrix."""
    q, _ = np.linalg.qr(complex_normal(rng, (size, size)))
    return np.asarray(q)


def slope(sizes: Any, errors: Any) -> float:
    """Return the exponent of errors against sizes, by a line through their logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(errors), 1)[0])
