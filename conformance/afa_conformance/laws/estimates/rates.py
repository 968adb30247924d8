"""The eigenvalues of a problem, and arguments of the library's functions derived from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from afa_conformance.problems import DrawnProblem, completed
from afa_core import DiagonalSDE


def rates(problem: DrawnProblem, tokens: str) -> NDArray[Any]:
    """Return λ = −μ + iω of every mode of keys or of values, (..., d)."""
    sde, size = problem.sde, problem.modes
    frequency = sde.frequency
    if tokens == "value" and not isinstance(sde, DiagonalSDE):
        frequency, size = completed(problem).sde.value_frequency, problem.value_modes
    decay = np.asarray(sde.decay)
    rate = -(decay if isinstance(sde, DiagonalSDE) else decay[..., None]) + 1j * frequency
    return np.broadcast_to(rate, (*rate.shape[:-1], size))


def with_value_dynamics(problem: DrawnProblem) -> DrawnProblem:
    """Return the problem whose keys rotate at the frequencies of its values."""
    if isinstance(problem.sde, DiagonalSDE):
        return problem
    frequency = completed(problem).sde.value_frequency
    return replace(problem, sde=problem.sde._replace(frequency=frequency))


def layout_of(problem: DrawnProblem) -> dict[str, Any]:
    """Return the keyword `layout`, empty for complex modes."""
    return {} if problem.layout == "complex" else {"layout": problem.layout}
