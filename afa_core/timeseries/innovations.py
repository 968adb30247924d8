r"""Innovations of the Kalman filter, their variances and the derivatives of both, by scans.

In units of the measurement noise, η² = 1, with s = σ²/η², and with a reliability ψ of each
measurement, whose variance is η²/ψ (ψ = 0: nothing is measured):

    p⁻_i = E²p_{i−1} + V(h_i),   p_i = p⁻_i/(1 + ψ_ip⁻_i),
    x⁻_i = E x_{i−1},   e_i = z_i − x⁻_i,   x_i = x⁻_i + ψ_ip_i e_i

with a diffuse start: p = 1/ψ, x = z at the first measurement. The derivative of a recursion is an
affine recursion, so that all of it takes O(n) operations in O(log n) steps.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from afa_core._array.scan import affine, fractional, prefixes
from afa_core.model.covariance import phi1, phi1_derivative

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
    lag, reliability, first = recursion
    exponent = -decay * lag  # (s, n)
    factor = np.exp(exponent)
    doubled: Any = 2.0 * exponent
    driven: Any = ratio * lag * phi1(doubled, xp=NUMPY)
    driven_by_decay = ratio * lag * phi1_derivative(doubled, xp=NUMPY) * doubled

    before = _previous(_variances(factor**2, driven, reliability, first))  # p_{i−1}
    predicted = factor**2 * before + driven  # p⁻
    kept = np.where(first, 0.0, 1.0 / (1.0 + reliability * predicted))  # 1 − K
    gain = 1.0 - kept

    slope = kept * factor
    mean = _accumulate(slope, gain * values)
    innovation = values - factor * _previous(mean)

    source = np.stack([doubled * factor**2 * before + driven_by_decay, driven])
    variance = _accumulate(kept**2 * factor**2, kept**2 * source)  # dp
    variance_grad = factor**2 * _previous(variance) + source  # dp⁻
    gain_grad = reliability * variance  # dK
    carried = np.stack([exponent * factor, np.zeros_like(factor)]) * _previous(mean[0])
    means = _accumulate(slope, kept * carried + gain_grad * innovation[0])  # dx
    value_grad = -(factor * _previous(means) + carried)
    return Innovations(innovation, 1.0 + predicted, value_grad, variance_grad)


def _variances(carried: Floats, driven: Floats, reliability: Floats, first: Bools) -> Floats:
    """Return p, (s, n), as the prefixes of p ↦ (ap + b)/(cp + 1); zero before the first."""
    scale = 1.0 + reliability * driven
    start = 1.0 / np.where(first, reliability, 1.0)
    maps: Any = (
        np.where(first, 0.0, carried / scale),
        np.where(first, start, driven / scale),
        np.where(first, 0.0, reliability * carried / scale),
    )
    found: Any = prefixes(fractional, maps, axis=-1, xp=NUMPY)[1]
    return cast(Floats, found)


def _accumulate(slope: Floats, constant: NDArray[Any]) -> NDArray[Any]:
    """Return x_i = slope_i x_{i−1} + constant_i from zero."""
    maps: Any = np.broadcast_to(slope, constant.shape), constant
    return cast("NDArray[Any]", prefixes(affine, maps, axis=-1, xp=NUMPY)[1])


def _previous(x: NDArray[Any]) -> NDArray[Any]:
    """Return x_{i−1}, zero at the first."""
    return np.concatenate([np.zeros_like(x[..., :1]), x[..., :-1]], axis=-1)
