"""Exact estimation of one mode by textbook formulas: scalar loops and dense normal densities.

Numbers are complex and transitions e^{λΔ}; no rotating frame is used. A real state has a real λ
and one real part (`parts`), a complex one two.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from afa_conformance.series import DrawnSeries

DIFFUSE = (0.0, math.inf)


@dataclass(frozen=True)
class ScalarMode:
    """One mode of one series: NumPy arrays (n,) and numbers."""

    z: NDArray[Any]
    present: NDArray[np.bool_]
    times: NDArray[Any]
    eigenvalue: complex
    process: float
    measurement: float
    prior: tuple[complex, float]
    parts: int


def modes(series: DrawnSeries) -> list[tuple[tuple[int, ...], ScalarMode]]:
    """Return the modes of a series, with their index (..., d)."""
    *leading, _, d = series.shape
    found = []
    for index in np.ndindex(*leading, d):
        *own, k = index
        prior = DIFFUSE
        if series.prior is not None:
            mean, variance = series.prior
            prior = (np.asarray(mean)[(*own, k)].item(), float(np.asarray(variance)[k]))
        sde, at = series.sde, (*own, slice(None), k)
        found.append(
            (
                index,
                ScalarMode(
                    z=series.measurements[at],
                    present=series.present[at],
                    times=np.asarray(series.explicit_times, dtype=float),
                    eigenvalue=complex(-sde.decay[k], sde.frequency[k]),
                    process=float(sde.noise.process[k]),
                    measurement=float(sde.noise.measurement[k]),
                    prior=prior,
                    parts=1 if series.layout == "real" else 2,
                ),
            )
        )
    return found


def transition(mode: ScalarMode, lag: float) -> complex:
    """Return e^{λΔ}."""
    return complex(np.exp(mode.eigenvalue * lag))


def propagated(mode: ScalarMode, lag: float) -> float:
    """Return V(Δ) = σ²(1 − e^{−2μΔ})/2μ."""
    rate = -2.0 * mode.eigenvalue.real
    return mode.process * (lag if rate == 0.0 else -math.expm1(-rate * lag) / rate)


def log_normal(mode: ScalarMode, residual: complex, variance: float) -> float:
    """Return the log-density of a real or circular complex normal number."""
    if mode.parts == 1:
        return -0.5 * (math.log(2.0 * math.pi * variance) + abs(residual) ** 2 / variance)
    return -math.log(math.pi * variance) - abs(residual) ** 2 / variance


def kalman_filter(mode: ScalarMode) -> tuple[list[Any], list[Any], list[Any], list[Any], float]:
    """Return filtered mean and variance, predicted mean and variance, and log-likelihood."""
    mean, variance = mode.prior
    means, variances, predicted_means, predicted_variances = [], [], [], []
    likelihood = 0.0
    for i, z in enumerate(mode.z):
        if i and math.isfinite(variance):
            lag = mode.times[i] - mode.times[i - 1]
            f = transition(mode, lag)
            mean, variance = f * mean, abs(f) ** 2 * variance + propagated(mode, lag)
        predicted_means.append(mean)
        predicted_variances.append(variance)
        if mode.present[i] and math.isinf(variance):
            mean, variance = z, mode.measurement
        elif mode.present[i]:
            total = variance + mode.measurement
            likelihood += log_normal(mode, z - mean, total)
            mean = mean + variance / total * (z - mean)
            variance = 1.0 / (1.0 / variance + 1.0 / mode.measurement)
        means.append(mean)
        variances.append(variance)
    return means, variances, predicted_means, predicted_variances, likelihood


def information_smoother(mode: ScalarMode, nodes: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return mean and variance of the first `nodes` states given their measurements.

    The joint precision is tridiagonal: 1/η² from a measurement, 1/V from a transition; it needs
    V > 0 and at least one measurement or a prior.
    """
    precision = np.zeros((nodes, nodes), dtype=complex)
    score = np.zeros(nodes, dtype=complex)
    mean, variance = mode.prior
    precision[0, 0] += 1.0 / variance
    score[0] += mean / variance
    for i in range(nodes):
        if mode.present[i]:
            precision[i, i] += 1.0 / mode.measurement
            score[i] += mode.z[i] / mode.measurement
        if i:
            lag = mode.times[i] - mode.times[i - 1]
            f, v = transition(mode, lag), propagated(mode, lag)
            precision[i, i] += 1.0 / v
            precision[i - 1, i - 1] += abs(f) ** 2 / v
            precision[i, i - 1] -= f / v
            precision[i - 1, i] -= f.conjugate() / v
    covariance = np.linalg.inv(precision)
    return covariance @ score, np.real(np.diag(covariance))


def future_information(mode: ScalarMode) -> list[tuple[complex, float]]:
    """Return score and precision of each state from the measurements after it alone."""
    score, precision = 0.0j, 0.0
    found = [(score, precision)]
    for i in range(len(mode.z) - 1, 0, -1):
        if mode.present[i]:
            score += mode.z[i] / mode.measurement
            precision += 1.0 / mode.measurement
        lag = mode.times[i] - mode.times[i - 1]
        f = transition(mode, lag)
        shrink = 1.0 + propagated(mode, lag) * precision
        score, precision = f.conjugate() * score / shrink, abs(f) ** 2 * precision / shrink
        found.append((score, precision))
    return found[::-1]


def log_likelihood(mode: ScalarMode) -> float:
    """Return the joint normal log-density of the measurements; the first starts a diffuse state."""
    index = np.flatnonzero(mode.present)
    start, (mean, variance) = 0, mode.prior
    if math.isinf(variance):
        if len(index) < 2:
            return 0.0
        start, index = index[0], index[1:]
        mean, variance = mode.z[start], mode.measurement
    elapsed = mode.times[index] - mode.times[start]
    transitions = np.exp(mode.eigenvalue * elapsed)
    residual = mode.z[index] - transitions * mean
    covariance = variance * np.outer(transitions, transitions.conj())
    for a, s in enumerate(elapsed):
        for b, t in enumerate(elapsed):
            both = min(s, t)
            factor = transition(mode, s - both) * transition(mode, t - both).conjugate()
            covariance[a, b] += propagated(mode, both) * factor + (a == b) * mode.measurement
    distance = float(np.real(residual.conj() @ np.linalg.solve(covariance, residual)))
    determinant = float(np.linalg.slogdet(covariance)[1])
    size, half = len(index), 0.5 * mode.parts
    return -half * (size * math.log(2.0 * math.pi / mode.parts) + determinant + distance)
