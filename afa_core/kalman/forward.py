"""The Kalman recursion: one pass from the first time to the last."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from afa_core.arrays import Array, Namespace
from afa_core.kalman.problem import Arguments, Prior, Series, State, prepare
from afa_core.sde import DiagonalSDE, IsotropicSDE
from afa_core.series import StateLayout


class Filtered(NamedTuple):
    """What the measurements up to each time say about the state then.

    Parameters
    ----------
    mean : array, shape (..., n, c)
        Estimate from the measurements up to and at each time, of the kind, layout and dtype of
        the measurements; zero before a mode is first measured.
    variance : array, shape (..., n, d)
        Its variance, total over the real and imaginary part, value²; infinite before a mode is
        first measured.
    predicted_mean, predicted_variance : array, shape (..., n, c) and (..., n, d)
        The same before the measurement at that time is seen.
    log_likelihood : array, shape (..., d)
        Log-density of the measurements of each mode, natural logarithm; those that start a
        diffuse mode or find a state already known exactly contribute nothing. The modes are
        independent: the sum over them is the joint one.
    """

    mean: Array
    variance: Array
    predicted_mean: Array
    predicted_variance: Array
    log_likelihood: Array


class Measurement(NamedTuple):
    """The measurement of one token, in the rotating frame."""

    value: Array  # (p, ..., d)
    observed: Array  # (..., d)
    variance: Array  # (..., d)


class Path(NamedTuple):
    """The beliefs along a series: states whose arrays have an axis of time, (..., n, d)."""

    predicted: State
    filtered: State
    log_likelihood: Array  # (..., d)
    weight: Array | None  # (..., n)


Weigh = Callable[[State, Measurement], Array]
"""Give the weight (...) of a measurement from the belief before it."""


def filter(
    measurements: Array,
    times: Array | None,
    sde: IsotropicSDE | DiagonalSDE,
    *,
    prior: Prior | None = None,
    observed: Array | None = None,
    layout: StateLayout = "interleaved",
) -> Filtered:
    """Estimate the state at each time from the measurements so far: the Kalman filter.

    Per mode and step, with lag Δ, x⁻ = e^{λΔ}x, P⁻ = e^{−2μΔ}P + V(Δ); then with S = P⁻ + η²,
    K = P⁻/S: x = x⁻ + K(z − x⁻), P = Kη², and log p = −(log πS + |z − x⁻|²/S).

    Parameters
    ----------
    measurements : array, shape (..., n, c)
        Complex modes (c = d); or real pairs (c = 2d) in the given `layout`; or, for `layout`
        "real", d real channels. n ≥ 1.
    times : array, shape (..., n), or None
        Floating or signed integers, non-decreasing (not checked), ties allowed; by default
        0..n−1. Lags are formed in the dtype given, so a large common offset costs nothing.
    sde : IsotropicSDE or DiagonalSDE
        The model; an isotropic one holds for every mode. Its `value_frequency` and the query
        noise γ² play no part. Values are not checked here: `sde.validate()` does that.
    prior : Prior or None
        The belief at the first time before its measurement; by default none, which is exact:
        the first measurement of a mode is its estimate, with variance η².
    observed : boolean array, broadcastable to (..., n, d), or None
        False where there is no measurement; what stands there (NaN, say) leaves no trace.
    layout : {"interleaved", "halves", "real"}
        Real pairs as (re, im), (re, im), … or all real parts, then all imaginary parts; or a
        real state, for which σ² and η² are variances of the one real channel, the density is
        log p = −½(log 2πS + (z − x⁻)²/S), and the frequency must be 0 (an array is taken so).

    Returns
    -------
    Filtered
        Means of the kind, layout and dtype of the measurements; variances and log-likelihood
        in the dtype of the computation: float64 for float64 or complex128, else float32.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind, dtype or library; for a RadialTangentialSDE too,
        which is not linear.
    ValueError
        If shapes, devices or options do not fit each other.

    References
    ----------
    Spec §11, §2.

    Examples
    --------
    A random walk measured three times, without a prior:

    >>> import numpy as np
    >>> from afa_core import IsotropicSDE, Noise
    >>> flow = np.asarray([[1120.0], [1160.0], [963.0]])
    >>> walk = IsotropicSDE(0.0, 0.0, Noise(process=1469.1, measurement=15099.0, query=0.0))
    >>> fit = filter(flow, None, walk, layout="real")
    >>> fit.mean[:, 0]
    array([1120.        , 1140.92783993, 1072.79852953])
    >>> fit.log_likelihood
    array([-12.74415141])
    """
    series, xp = prepare(Arguments(measurements, times, sde, prior, observed, layout))
    return write(forward(series, xp=xp), series, xp=xp)


def write(path: Path, s: Series, *, xp: Namespace) -> Filtered:
    """Return the beliefs as the caller gets them."""
    return Filtered(
        s.write(path.filtered.mean, xp=xp),
        xp.where(path.filtered.known, path.filtered.variance, xp.inf),
        s.write(path.predicted.mean, xp=xp),
        xp.where(path.predicted.known, path.predicted.variance, xp.inf),
        path.log_likelihood,
    )


def forward(s: Series, weigh: Weigh | None = None, *, xp: Namespace) -> Path:
    """Run the recursion over a series; the model of every step is formed before the loop."""
    transition, process = s.transitions(xp=xp)
    noise = s.noise(xp=xp)
    state, likelihood = s.start, xp.zeros_like(noise)
    predictions: list[State] = []
    states: list[State] = []
    weights: list[Array] = []
    for i in range(s.observed.shape[-2]):
        predicted = propagate(state, transition[..., i, :], process[..., i, :])
        z = Measurement(s.measured[..., i, :], s.observed[..., i, :], noise)
        if weigh is not None:
            weights.append(weigh(predicted, z))
            z = reweighted(z, weights[-1])
        likelihood = likelihood + log_density(predicted, z, xp=xp)
        state = update(predicted, z, xp=xp)
        predictions.append(predicted)
        states.append(state)
    return Path(
        _stack(predictions, xp=xp),
        _stack(states, xp=xp),
        likelihood,
        xp.stack(weights, axis=-1) if weights else None,
    )


def propagate(state: State, transition: Array, process: Array) -> State:
    """Return the belief a lag later: E x, E²P + V."""
    variance = transition**2 * state.variance + process
    return State(transition * state.mean, variance, state.known)


def update(predicted: State, z: Measurement, *, xp: Namespace) -> State:
    """Return the belief after a measurement: x⁻ + K(z − x⁻), Kη², with K = P⁻/(P⁻ + η²).

    K = 1 starts a diffuse mode, K = 0 where nothing is measured or nothing left to learn.
    """
    total = predicted.variance + z.variance
    gain = predicted.variance / xp.where(total > 0.0, total, 1.0)
    gain = xp.where(predicted.known, gain, 1.0)
    gain = xp.where(z.observed, gain, 0.0)
    return State(
        predicted.mean + gain * (z.value - predicted.mean),
        xp.where(z.observed, gain * z.variance, predicted.variance),
        xp.logical_or(predicted.known, z.observed),
    )


def log_density(predicted: State, z: Measurement, *, xp: Namespace) -> Array:
    """Return the log-density of a measurement, (..., d): normal, of variance S over p parts."""
    parts = z.value.shape[0]
    total = predicted.variance + z.variance
    counts = xp.logical_and(xp.logical_and(z.observed, predicted.known), total > 0.0)
    total = xp.where(counts, total, 1.0)
    residual2 = xp.sum((z.value - predicted.mean) ** 2, axis=0)
    scaled = math.log(2.0 * math.pi / parts) + xp.log(total) + residual2 / total
    return xp.where(counts, -0.5 * parts * scaled, 0.0)


def reweighted(z: Measurement, weight: Array) -> Measurement:
    """Return the measurement with variance η²/w."""
    return z._replace(variance=z.variance / weight[..., None])


def _stack(states: list[State], *, xp: Namespace) -> State:
    return State(*(xp.stack([s[k] for s in states], axis=-2) for k in range(3)))
