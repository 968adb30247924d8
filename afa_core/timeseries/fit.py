"""Maximum-likelihood fit of an Ornstein–Uhlenbeck process with measurement noise, by SciPy.

The likelihood is that of the exact Kalman filter with a diffuse start (spec §11). It is quadratic
in the level, so the best level for given dynamics is a ratio of sums of innovations: those of the
measurements, and those of a series of ones, which is filtered together with them.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from afa_core import kalman
from afa_core._checks.order import validate_times
from afa_core.model.sde import IsotropicSDE, Noise

Floats = NDArray[np.float64]

STEP = 1e-4
"""Step of the central differences, in logarithms."""

BOUNDS = (-22.0, 6.0)
"""Bounds of the logarithms, in units of the data."""

STARTS = {"decay": (-5, -2, 0), "process": (-6, -3, -1, 1), "measurement": (-5, -2, 0)}
"""Logarithms at which the search starts, in units of the data."""


class Fit(NamedTuple):
    """Maximum-likelihood parameters, in 1/time, value²/time, value² and value."""

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
        Measurements, all finite.
    times : array, shape (n,)
        Their times, not decreasing.
    decay, process, measurement, level : float or None
        1/time, value²/time, value², value; a number is not fitted.
    callback : callable or None
        Called after every iteration of the optimiser.

    Returns
    -------
    Fit
        A fitted decay or process noise is exactly zero where that has the largest likelihood. A
        fitted level is within the range of the measurements.

    Raises
    ------
    ValueError
        If the measurements are too few or constant, or the times decrease.

    References
    ----------
    Spec §11; J. Durbin and S. J. Koopman, "Time Series Analysis by State Space Methods".
    """
    validate_times(times)
    given = {"decay": decay, "process": process, "measurement": measurement}
    free = [name for name, number in given.items() if number is None]
    if free:
        _check(z, times, free)
    center, scale = float(z.mean()), float(z.std()) or 1.0
    step = float(np.ptp(times)) / max(len(z) - 1, 1) or 1.0
    units = {"decay": 1.0 / step, "process": scale**2 / step, "measurement": scale**2}
    fixed = {name: x / units[name] for name, x in given.items() if x is not None}
    z, times = (z - center) / scale, (times - times[0]) / step
    level = None if level is None else (level - center) / scale

    def objective(logarithms: Floats) -> Floats:
        """Return the log-likelihood for each row of logarithms of the free parameters."""
        parameters = {name: np.full(len(logarithms), x) for name, x in fixed.items()}
        parameters |= zip(free, np.exp(logarithms).T, strict=True)
        return log_likelihood(z, times, level=level, **parameters)[0]

    best = {name: np.asarray([x]) for name, x in fixed.items()}
    best |= zip(free, np.exp(_maximise(objective, free, callback))[:, None], strict=True)
    for name in [each for each in ("decay", "process") if each in free]:
        with_zero = best | {name: np.zeros(1)}
        values = [log_likelihood(z, times, level=level, **each)[0] for each in (best, with_zero)]
        best = with_zero if values[1] >= values[0] - 1e-8 else best
    value, fitted_level = log_likelihood(z, times, level=level, **best)
    return Fit(
        **{name: float(x[0] * units[name]) for name, x in best.items()},
        level=center + scale * float(fitted_level[0]),
        log_likelihood=float(value[0]) - (len(z) - 1) * float(np.log(scale)),
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
    """Return the log-likelihoods and levels, (p,) each, of p values of every parameter."""
    sde = IsotropicSDE(decay, 0.0, Noise(process, measurement, 0.0))
    channels = np.stack([z, np.ones_like(z)], axis=-1)
    result = kalman.filter(
        np.broadcast_to(channels, (len(decay), *channels.shape)), times, sde, layout="real"
    )
    predicted = np.asarray(result.predicted_mean)[:, 1:]
    innovation, unit = np.moveaxis(channels[1:] - predicted, -1, 0)
    variance = np.asarray(result.predicted_variance)[:, 1:, 0] + measurement[:, None]
    weight = np.sum(unit**2 / variance, axis=-1)
    ratio = np.sum(innovation * unit / variance, axis=-1) / np.where(weight > 0.0, weight, 1.0)
    levels = np.clip(ratio, z.min(), z.max()) if level is None else np.full(len(decay), level)
    residual = innovation - levels[:, None] * unit
    terms = np.log(2.0 * np.pi * variance) + residual**2 / variance
    return -0.5 * np.sum(terms, axis=-1), levels


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
    objective: Callable[[Floats], Floats],
    free: list[str],
    callback: Callable[[Any], object] | None,
) -> Floats:
    """Return the maximiser, searched from the best point of a grid.

    A gradient is one batch of central differences.
    """
    if not free:
        return np.zeros(0)
    steps = STEP * np.eye(len(free))

    def loss(logarithms: Floats) -> tuple[float, Floats]:
        points = np.concatenate([logarithms[None], logarithms + steps, logarithms - steps])
        values = -objective(points)
        forward, backward = np.split(values[1:], 2)
        return float(values[0]), (forward - backward) / (2.0 * STEP)

    starts = np.asarray(list(product(*(STARTS[name] for name in free))), dtype=np.float64)
    start = starts[np.argmax(objective(starts))]
    found = minimize(
        loss,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=[BOUNDS] * len(free),
        callback=callback,
        options={"ftol": 1e-14, "gtol": 1e-8},
    )
    best: Floats = found.x
    return best
