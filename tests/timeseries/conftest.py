"""Simulated series: a random walk, or a process that reverts to a level, at irregular times."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest

pytest.importorskip("scipy")


class Series(NamedTuple):
    times: np.ndarray  # (n,)
    state: np.ndarray  # (n,), complex of pairs
    values: np.ndarray  # (n,) or (n, 2), NaN in gaps
    outlier: np.ndarray  # (n,)


def simulated(
    decay=0.0,
    process=0.25,
    measurement=1.0,
    level=0.0,
    frequency=None,
    *,
    n=600,
    seed=0,
    outliers=0.0,
    size=10.0,
    gaps=0.1,
) -> Series:
    """Simulate a state and its measurements; outliers have `size` times the standard deviation."""
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.exponential(size=n))
    paired = frequency is not None

    def normal():
        return rng.standard_normal(n) + (1j * rng.standard_normal(n) if paired else 0.0)

    state, noise, error = np.zeros(n, complex if paired else float), normal(), normal()
    rate = -decay + (1j * frequency if paired else 0.0)
    for i, lag in enumerate(np.diff(times), start=1):
        variance = lag if decay == 0.0 else -np.expm1(-2.0 * decay * lag) / (2.0 * decay)
        state[i] = np.exp(rate * lag) * state[i - 1] + np.sqrt(process * variance) * noise[i]
    outlier = rng.random(n) < outliers
    values = level + state + np.sqrt(measurement) * error * np.where(outlier, size, 1.0)
    values[rng.random(n) < gaps] = np.nan
    if paired:
        values = np.stack([values.real, values.imag], axis=-1)
    return Series(times, level + state, values, outlier)


@pytest.fixture(scope="session")
def simulate() -> Callable[..., Series]:
    return simulated
