"""Noiseless trajectories x(t) = e^{Λt}x₀ through the times of a problem."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from afa_conformance.numerics import complex_normal
from afa_conformance.problems import DrawnProblem
from afa_core import DiagonalSDE


def trajectory(problem: DrawnProblem, tokens: str = "key") -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the trajectory at the times of queries and of keys, in the modes of keys or values.

    The problem has no defaults left (`problems.completed`). Each leading index has its own rates,
    hence its own trajectory.
    """
    sde = problem.sde
    frequency = sde.frequency
    if tokens == "value" and not isinstance(sde, DiagonalSDE):
        frequency = sde.value_frequency
    decay, frequency = np.asarray(sde.decay), np.asarray(frequency)
    if not isinstance(sde, DiagonalSDE):
        decay = decay[..., None]  # (..., d)
    size = problem.modes if tokens == "key" else problem.value_modes
    rate = np.broadcast_to(-decay + 1j * frequency, (*problem.leading, size))
    seed = 0 if problem.description is None else problem.description.seed
    start = complex_normal(np.random.default_rng(seed + 1), (size,))

    earliest = float(min(np.min(problem.query_times), np.min(problem.key_times)))

    def at(times: Any) -> NDArray[Any]:
        elapsed = np.asarray(times, dtype=float) - earliest  # (..., n)
        return np.asarray(np.exp(rate[..., None, :] * elapsed[..., :, None]) * start)

    return at(problem.query_times), at(problem.key_times)
