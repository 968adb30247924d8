r"""Innovations of the Kalman filter, their variances and the derivatives of both, by scans.

The recursions are those of `reweighting`, in units of the measurement noise, with s = σ²/η². The
derivative of a recursion is an affine recursion, so that all of it takes O(n) operations in
O(log n) steps.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from afa_core.model.covariance import phi1, phi1_derivative
from afa_core.timeseries.reweighting import accumulate, delayed, gains_of

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

NUMPY: Any = np


class Recursion(NamedTuple):
    """What the filter of s series at n times takes beside the values."""

    lag: Floats  # h, (n,), zero at the first time
    reliability: Floats  # ψ, (s, n)
    first: Bools  # which is the first measurement of a series, (s, n)


class Innovations(NamedTuple):
    """What measurements differ from their predictions by; derivatives are by log μ and log s.

    Values of channels that are not measured are without meaning.
    """

    value: NDArray[Any]  # e, of c channels, (c, s, n)
    variance: Floats  # of the measurement, 1 + p⁻, (s, n)
    value_grad: NDArray[Any]  # of the first channel, (2, s, n)
    variance_grad: Floats  # (2, s, n)


def transition(lag: Floats, decay: Floats, ratio: Floats) -> tuple[Any, Any, Any]:
    """Return e^{−μh}, E² and V of lags h, (s, n), for μ and s of shape (s, 1)."""
    exponent: Any = -decay * lag
    factor = np.exp(exponent)
    return factor, factor**2, ratio * lag * phi1(2.0 * exponent, xp=NUMPY)


def innovations(
    values: NDArray[Any], recursion: Recursion, decay: Floats, ratio: Floats
) -> Innovations:
    """Filter c channels of s series with the same gains.

    Parameters
    ----------
    values : array, shape (c, s, n)
        Real, or complex in the rotating frame; finite.
    recursion : Recursion
    decay, ratio : array, shape (s, 1)
        μ, 1/time, and s, 1/time.
    """
    reliability: Any
    first: Any
    lag, reliability, first = recursion
    factor, carried, driven = transition(lag, decay, ratio)
    exponent = -decay * lag  # (s, n)
    doubled: Any = 2.0 * exponent
    driven_by_decay = ratio * lag * phi1_derivative(doubled, xp=NUMPY) * doubled

    gains: Any = gains_of(carried, driven, reliability, first, xp=NUMPY)
    before, predicted, kept = gains
    gain = 1.0 - kept

    slope = kept * factor
    mean = accumulate(slope, gain * values, xp=NUMPY)
    innovation = values - factor * delayed(mean, xp=NUMPY)

    source = np.stack([doubled * carried * before + driven_by_decay, driven])
    variance = accumulate(kept**2 * carried, kept**2 * source, xp=NUMPY)  # dp
    variance_grad = carried * delayed(variance, xp=NUMPY) + source  # dp⁻
    gain_grad = reliability * variance  # dK
    decayed = np.stack([exponent * factor, np.zeros_like(factor)]) * delayed(mean[0], xp=NUMPY)
    means = accumulate(slope, kept * decayed + gain_grad * innovation[0], xp=NUMPY)  # dx
    value_grad = -(factor * delayed(means, xp=NUMPY) + decayed)
    return Innovations(innovation, 1.0 + predicted, value_grad, variance_grad)
