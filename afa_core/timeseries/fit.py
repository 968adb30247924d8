"""Maximum likelihood of an Ornstein–Uhlenbeck process seen in noise, with SciPy.

The likelihood is the exact Kalman filter's, with a diffuse start (spec §11). The level enters
linearly, so its best value for given dynamics is a ratio of sums: the filter runs over the
measurements and, beside them, over a series of ones.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from afa_core import kalman
from afa_core.model.sde import IsotropicSDE, Noise

Floats = NDArray[np.float64]

STEP = 1e-4  # of the central differences, in logarithms
BOUNDS = (-22.0, 6.0)  # of the logarithms, in units of the data
STARTS = {"decay": (-5, -2, 0), "process": (-6, -3, -1, 1), "measurement": (-5, -2, 0)}


class Fit(NamedTuple):
    """Parameters of greatest likelihood: 1/time, value²/time, value², value."""

    decay: float
    process: float
    measurement: float
    level: float
    log_likelihood: float


def fit(
    z: Floats,
    times: Floats,
    *,
    decay: float | None = None,
    process: float | None = None,
    measurement: float | None = None,
    level: float | None = None,
    callback: Callable[[Any], object] | None = None,
) -> Fit:
    """Fit the parameters that are None to measurements at given times.

    Parameters
    ----------
    z : array, shape (n,)
        Measurements, without gaps.
    times : array, shape (n,)
        Their times, not decreasing.
    decay, process, measurement, level : float or None
        1/time, value²/time, value², value; a given number is kept.
    callback : callable or None
        Called after every iteration of the optimiser.

    Returns
    -------
    Fit
        A decay or a process noise is exactly zero where that is likeliest. A fitted level stays
        within the range of the measurements.

    Raises
    ------
    ValueError
        If the measurements are too few, or do not vary.

    References
    ----------
    Spec §11; J. Durbin and S. J. Koopman, "Time Series Analysis by State Space Methods".
    """
    given = {"decay": decay, "process": process, "measurement": measurement}
    free = [name for name, number in given.items() if number is None]
    if free:
        _check(z, times, free)
    center, size = float(z.mean()), float(z.std()) or 1.0
    step = float(np.ptp(times)) / max(len(z) - 1, 1) or 1.0
    units = {"decay": 1.0 / step, "process": size**2 / step, "measurement": size**2}
    fixed = {name: x / units[name] for name, x in given.items() if x is not None}
    z, times = (z - center) / size, (times - times[0]) / step
    level = None if level is None else (level - center) / size

    def score(logarithms: Floats) -> Floats:
        """Return the log-likelihood of rows of logarithms of the free parameters."""
        parameters = {name: np.full(len(logarithms), x) for name, x in fixed.items()}
        parameters |= zip(free, np.exp(logarithms).T, strict=True)
        return log_likelihood(z, times, level=level, **parameters)[0]

    best = {name: np.asarray([x]) for name, x in fixed.items()}
    best |= zip(free, np.exp(_maximise(score, free, callback))[:, None], strict=True)
    for name in {"decay", "process"} & set(free):
        without = best | {name: np.zeros(1)}
        scores = [log_likelihood(z, times, level=level, **each)[0] for each in (best, without)]
        best = without if scores[1] >= scores[0] - 1e-8 else best
    value, level_found = log_likelihood(z, times, level=level, **best)
    return Fit(
        **{name: float(x[0] * units[name]) for name, x in best.items()},
        level=center + size * float(level_found[0]),
        log_likelihood=float(value[0]) - (len(z) - 1) * float(np.log(size)),
    )


def log_likelihood(
    z: Floats,
    times: Floats,
    *,
    decay: Floats,
    process: Floats,
    measurement: Floats,
    level: float | None,
) -> tuple[Floats, Floats]:
    """Return log-likelihood and level, (p,) each, of p sets of parameters at once."""
    sde = IsotropicSDE(decay, 0.0, Noise(process, measurement, 0.0))
    beside = np.stack([z, np.ones_like(z)], axis=-1)
    result = kalman.filter(
        np.broadcast_to(beside, (len(decay), *beside.shape)), times, sde, layout="real"
    )
    predicted = np.asarray(result.predicted_mean)[:, 1:]
    innovation, unit = np.moveaxis(beside[1:] - predicted, -1, 0)
    variance = np.asarray(result.predicted_variance)[:, 1:, 0] + measurement[:, None]
    weight = np.sum(unit**2 / variance, axis=-1)
    ratio = np.sum(innovation * unit / variance, axis=-1) / np.where(weight > 0.0, weight, 1.0)
    found = np.clip(ratio, z.min(), z.max()) if level is None else np.full(len(decay), level)
    residual = innovation - found[:, None] * unit
    terms = np.log(2.0 * np.pi * variance) + residual**2 / variance
    return -0.5 * np.sum(terms, axis=-1), found


def _check(z: Floats, times: Floats, free: list[str]) -> None:
    names = ", ".join(free)
    if len(z) < len(free) + 2:
        msg = (
            f"`z` must hold at least {len(free) + 2} measurements to fit {names}, got {len(z)}. "
            "Give the parameters instead."
        )
        raise ValueError(msg)
    for name, x in (("z", z), ("times", times)):
        if np.ptp(x) == 0.0:
            msg = f"`{name}` must vary to fit {names}, got {x[0]:g} only. Give the parameters."
            raise ValueError(msg)


def _maximise(
    score: Callable[[Floats], Floats], free: list[str], callback: Callable[[Any], object] | None
) -> Floats:
    """Climb from the best of a grid of starts; a gradient is one batch of central differences."""
    if not free:
        return np.zeros(0)
    steps = STEP * np.eye(len(free))

    def descend(logarithms: Floats) -> tuple[float, Floats]:
        values = -score(np.concatenate([logarithms[None], logarithms + steps, logarithms - steps]))
        forward, backward = np.split(values[1:], 2)
        return float(values[0]), (forward - backward) / (2.0 * STEP)

    starts = np.asarray(list(product(*(STARTS[name] for name in free))), dtype=np.float64)
    start = starts[np.argmax(score(starts))]
    found = minimize(
        descend,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=[BOUNDS] * len(free),
        callback=callback,
        options={"ftol": 1e-14, "gtol": 1e-8},
    )
    best: Floats = found.x
    return best
