"""The Kalman recursion: one pass from the first time to the last."""

from __future__ import annotations

from typing import NamedTuple

from afa_core._array.arrays import Array, Namespace
from afa_core.kalman import parallel
from afa_core.kalman.problem import (
    Arguments,
    Method,
    Prior,
    Series,
    State,
    check_method,
    prepare,
)
from afa_core.kalman.step import (
    Measurement,
    Path,
    Weigh,
    log_density,
    propagate,
    reweighted,
    stack,
    update,
)
from afa_core.model.rotating_frame import StateLayout
from afa_core.model.sde import DiagonalSDE, IsotropicSDE


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


def filter(
    measurements: Array,
    times: Array | None,
    sde: IsotropicSDE | DiagonalSDE,
    *,
    prior: Prior | None = None,
    observed: Array | None = None,
    layout: StateLayout = "interleaved",
    method: Method = "scan",
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
    method : {"scan", "sequential"}
        Associative scans, O(n) operations of which O(log n) follow each other; or the recursion
        itself, token by token, which serves as the reference. They differ by rounding alone.

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
    return write(run(series, method, xp=xp), series, xp=xp)


def run(s: Series, method: Method, *, xp: Namespace) -> Path:
    """Return the beliefs along a series by the method of that name."""
    check_method(method)
    return parallel.forward(s, xp=xp) if method == "scan" else forward(s, xp=xp)


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
        stack(predictions, xp=xp),
        stack(states, xp=xp),
        likelihood,
        xp.stack(weights, axis=-1) if weights else None,
    )
