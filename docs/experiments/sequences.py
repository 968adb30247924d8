"""Series at irregular times, some of whose values are hidden, and what can be known of those.

Simulated signals are sums of damped oscillations; real ones come with statsmodels and
astropy-iers-data.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

TOKENS, BLOCK, SCATTERED = 64, 10, 0.15
OBSERVED, FORECAST, GAP, SINGLE = range(4)
KINDS = {"forecast": FORECAST, "gap": GAP, "single": SINGLE}
"""Hidden values: the last ones, those of a gap, and single ones."""

DECAY, PERIOD = np.asarray([0.02, 0.01, 0.005]), np.asarray([6.0, 15.0, 40.0])
RATE = -DECAY + 2j * np.pi / PERIOD
NOISE, OUTLIERS, EXCESS = 0.3, 0.08, 100.0

WINDOW, DRAWN = 2 * TOKENS, 512
TRAIN, VALID, TEST = (0.0, 0.6), (0.6, 0.8), (0.8, 1.0)


class Series(NamedTuple):
    """Times, values where observed, targets, kinds of values, variances of the noise: (b, n)."""

    times: np.ndarray
    values: np.ndarray
    target: np.ndarray
    kind: np.ndarray
    variance: np.ndarray | None = None


def hide(rng, count):
    """Return the kinds of values: a block at the end, one before it, and single ones are hidden."""
    kind = np.where(rng.random((count, TOKENS)) < SCATTERED, SINGLE, OBSERVED)
    start = rng.integers(BLOCK, TOKENS - 3 * BLOCK, (count, 1))
    place = np.arange(TOKENS)
    kind[(place >= start) & (place < start + BLOCK)] = GAP
    kind[:, -BLOCK:] = FORECAST
    return kind


def simulate(rng, count, outliers):
    """Return signals of variance 1, a share of whose measurements are outliers."""
    times = np.cumsum(rng.exponential(size=(count, TOKENS)), axis=-1)
    shape = (count, TOKENS, len(RATE))
    state = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(len(RATE))
    factor = np.exp(RATE * np.diff(times)[..., None])
    for i in range(1, TOKENS):
        added = np.sqrt(1.0 - np.abs(factor[:, i - 1]) ** 2) * state[:, i]
        state[:, i] = factor[:, i - 1] * state[:, i - 1] + added
    signal = state.real.sum(-1)
    variance = NOISE**2 * np.where(rng.random((count, TOKENS)) < outliers, EXCESS, 1.0)
    values = signal + np.sqrt(variance) * rng.standard_normal((count, TOKENS))
    kind = hide(rng, count)
    return Series(times, np.where(kind == OBSERVED, values, 0.0), signal, kind, variance)


def smoother(series, variance):
    """Return the means of a signal given its observed values and the variances of their noise.

    Equal to those of the Kalman smoother with the true model, by the covariance of the signal.
    """
    lag = np.abs(series.times[:, :, None] - series.times[:, None, :])
    covariance = np.exp(RATE * lag[..., None]).real.mean(-1)
    noise = np.where(series.kind == OBSERVED, variance, 1e8)
    measured = covariance + noise[..., None] * np.eye(TOKENS)
    return (covariance @ np.linalg.solve(measured, series.values[..., None]))[..., 0]


def interpolate(series):
    """Return linear interpolations of observed values, and the last of them after it."""
    rows = zip(*series[:2], series.kind == OBSERVED, strict=True)
    return np.stack([np.interp(time, time[seen], value[seen]) for time, value, seen in rows])


@cache
def record(name):
    """Return a real series at equal distances, NaN where it is missing."""
    if name == "polar motion":
        from astropy_iers_data import IERS_B_FILE

        coordinate = np.loadtxt(IERS_B_FILE, usecols=5)[:23640]
        return coordinate.reshape(-1, 10).mean(axis=1)  # of ten days
    from statsmodels.datasets import co2, elnino

    if name == "carbon dioxide":
        return co2.load_pandas().data["co2"].to_numpy()
    return elnino.load_pandas().data.drop(columns="YEAR").to_numpy(dtype=float).ravel()


def part_of(name, part):
    """Return all windows of a part of a series, about their means, in units of training's sd."""

    def windows(part):
        first, last = (round(share * len(record(name))) for share in part)
        found = np.lib.stride_tricks.sliding_window_view(record(name)[first:last], WINDOW)
        found = found[np.isfinite(found).sum(-1) >= TOKENS]
        return found - np.nanmean(found, axis=-1, keepdims=True)

    return windows(part) / np.sqrt(np.nanmean(windows(TRAIN) ** 2))


def choose(rng, windows, count):
    """Return series of measurements drawn from windows: half of them, at irregular times."""
    values = windows[rng.integers(len(windows), size=count)]
    order = np.where(np.isfinite(values), rng.random(values.shape), 2.0)
    place = np.sort(np.argsort(order, axis=-1)[:, :TOKENS], axis=-1)
    values, kind = np.take_along_axis(values, place, -1), hide(rng, count)
    seen = kind == OBSERVED
    values = values - np.sum(values * seen, -1, keepdims=True) / seen.sum(-1, keepdims=True)
    return Series(place * TOKENS / WINDOW, np.where(seen, values, 0.0), values, kind)


SIMULATED = {"clean": 0.0, "outliers": OUTLIERS}
REAL = ("polar motion", "carbon dioxide", "El Niño")
TASKS = (*SIMULATED, *REAL)


def source(task, part):
    """Return a function that draws series of a part of a task by a generator and their number."""
    if task in SIMULATED:
        return lambda rng, count: simulate(rng, count, SIMULATED[task])
    windows = part_of(task, part)
    return lambda rng, count: choose(rng, windows, count)


def drawn(task, part):
    """Return the series that models are validated or tested on, the same for all."""
    seed = [TASKS.index(task), 1 + (TEST, VALID).index(part)]
    return source(task, part)(np.random.default_rng(seed), DRAWN)


def errors(prediction, series):
    """Return root mean square errors by kind of hidden values, and of all of them."""
    square = (prediction - series.target) ** 2
    chosen = {name: series.kind == kind for name, kind in KINDS.items()}
    chosen["all"] = series.kind != OBSERVED
    return {name: round(float(np.sqrt(square[which].mean())), 4) for name, which in chosen.items()}


def baselines(task, series):
    """Return predictions without training, by name."""
    found = {"linear interpolation": interpolate(series)}
    if task in SIMULATED:
        share = SIMULATED[task]
        average = NOISE**2 * (1.0 - share + share * EXCESS)
        found["exact smoother, average variance"] = smoother(series, average)
        found["exact smoother, all variances known"] = smoother(series, series.variance)
    return found
