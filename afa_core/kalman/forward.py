"""The Kalman recursion: one pass from the first time to the last."""

from __future__ import annotations

from typing import NamedTuple

from afa_core._array.arrays import Array, Namespace
from afa_core.kalman.measurements import (
    Belief,
    FilterArguments,
    Measurements,
    Method,
    Prior,
    check_method,
    prepare_measurements,
)
from afa_core.kalman.parallel import scan_filter
from afa_core.kalman.step import (
    FilterPass,
    Measurement,
    WeightFunction,
    log_density,
    propagate,
    reweighted,
    stack_beliefs,
    update,
)
from afa_core.model.rotating_frame import StateLayout
from afa_core.model.sde import DiagonalSDE, IsotropicSDE


class Filtered(NamedTuple):
    """The state at each time, given the measurements up to that time.

    Parameters
    ----------
    mean : array, shape (..., n, c)
        Estimate from the measurements up to and at each time, of the kind, layout and dtype of
        the measurements; zero before a mode is first measured.
    variance : array, shape (..., n, d)
        Its variance, total over the real and imaginary part, value²; infinite before a mode is
        first measured.
    predicted_mean, predicted_variance : array, shape (..., n, c) and (..., n, d)
        The same without the measurement at that time.
    log_likelihood : array, shape (..., d)
        Log-density of the measurements of each mode, natural logarithm. Measurements that start
        a diffuse mode, or of a state that is known exactly, contribute 0. The modes are
        independent: the joint log-density is the sum over them.
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
    """Estimate the state at each time from the measurements up to it: the Kalman filter.

    Per mode and step, with lag Δ, x⁻ = e^{λΔ}x, P⁻ = e^{−2μΔ}P + V(Δ); then with S = P⁻ + η²,
    K = P⁻/S: x = x⁻ + K(z − x⁻), P = Kη², and log p = −(log πS + |z − x⁻|²/S).

    Parameters
    ----------
    measurements : array, shape (..., n, c)
        Complex modes (c = d); or real pairs (c = 2d) in the given `layout`; or, for `layout`
        "real", d real channels. n ≥ 1.
    times : array, shape (..., n), or None
        Floating or signed integers, non-decreasing (not checked), ties allowed; by default
        0..n−1. Lags are formed in the dtype given, so a large common offset costs no accuracy.
    sde : IsotropicSDE or DiagonalSDE
        The model; an isotropic one applies to every mode. Its `value_frequency` and the query
        noise γ² are not used. Values are not checked: `sde.validate()` checks them.
    prior : Prior or None
        The distribution of the state at the first time, before its measurement. By default it
        is diffuse: the first measurement of a mode is its estimate, with variance η².
    observed : boolean array, broadcastable to (..., n, d), or None
        False where there is no measurement; the values there, NaN included, have no effect.
    layout : {"interleaved", "halves", "real"}
        Real pairs as (re, im), (re, im), … or all real parts, then all imaginary parts; or a
        real state, for which σ² and η² are variances of the one real channel, the density is
        log p = −½(log 2πS + (z − x⁻)²/S), and the frequency must be 0 (an array is treated as
        0).
    method : {"scan", "sequential"}
        Associative scans, O(n) operations in O(log n) sequential steps; or the recursion token by
        token, which is the reference. Their results differ by rounding only.

    Returns
    -------
    Filtered
        Means of the kind, layout and dtype of the measurements; variances and log-likelihood
        in the dtype of the computation: float64 for float64 or complex128, else float32.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind, dtype or library, or the model is a
        RadialTangentialSDE, which is not linear.
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
    data, xp = prepare_measurements(
        FilterArguments(measurements, times, sde, prior, observed, layout)
    )
    return to_filtered(run_filter(data, method, xp=xp), data, xp=xp)


def run_filter(data: Measurements, method: Method, *, xp: Namespace) -> FilterPass:
    """Run the filter by the method of that name."""
    check_method(method)
    return scan_filter(data, xp=xp) if method == "scan" else sequential_filter(data, xp=xp)


def to_filtered(result: FilterPass, data: Measurements, *, xp: Namespace) -> Filtered:
    """Return the beliefs of a filter in the layout of the measurements."""
    predicted, filtered = result.predicted, result.filtered
    return Filtered(
        data.write(filtered.mean, xp=xp),
        xp.where(filtered.known, filtered.variance, xp.inf)[0, ...],
        data.write(predicted.mean, xp=xp),
        xp.where(predicted.known, predicted.variance, xp.inf)[0, ...],
        result.log_likelihood[0, ...],
    )


def sequential_filter(
    data: Measurements, weight_of: WeightFunction | None = None, *, xp: Namespace
) -> FilterPass:
    """Run the recursion token by token, with a weight for each measurement if `weight_of` is given.

    The transitions of all steps are computed before the loop.
    """
    transition, process = data.transitions(xp=xp)
    noise = data.noise(xp=xp)
    belief, likelihood = data.start, xp.zeros_like(noise)
    predictions: list[Belief] = []
    beliefs: list[Belief] = []
    weights: list[Array] = []
    for i in range(data.observed.shape[-2]):
        predicted = propagate(belief, transition[..., i, :], process[..., i, :])
        z = Measurement(data.value[..., i, :], data.observed[..., i, :], noise)
        if weight_of is not None:
            weights.append(weight_of(predicted, z))
            z = reweighted(z, weights[-1], xp=xp)
        likelihood = likelihood + log_density(predicted, z, xp=xp)
        belief = update(predicted, z, xp=xp)
        predictions.append(predicted)
        beliefs.append(belief)
    return FilterPass(
        stack_beliefs(predictions, xp=xp),
        stack_beliefs(beliefs, xp=xp),
        likelihood,
        xp.stack(weights, axis=-1) if weights else None,
    )
