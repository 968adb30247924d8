"""The linear case: with `Uniform()` weights on a regular grid attention is a convolution.

The weight Σ(Δ)^{−β} of a pair depends on its lag alone, so that the sums of n rows of n keys take
O(n log² n) operations instead of n², and no pair is held in memory.
"""

from __future__ import annotations

from typing import Any, cast

import array_api_compat

from afa_core._array.arrays import Array, Namespace, Parameter, append_axes, device_of
from afa_core._array.pairs import Pair, add, angle, pack, project, rotate, subtract, unpack
from afa_core._checks.problem import Problem
from afa_core.linear.convolution import Kernel, Sums, cumulative, mean_of_past, merging, pieces
from afa_core.model.covariance import residual_covariance
from afa_core.model.sde import DiagonalSDE, Noise, RadialTangential, RadialTangentialSDE
from afa_core.model.weighting import Uniform

CROSSOVER = 128
"""From as many queries on it is faster than the reference, measured on a CPU."""


def refusal(p: Problem, xp: Namespace) -> str:
    """Return why attention is no convolution here or cannot be computed as one, if so."""
    if not isinstance(p.weighting, Uniform):
        return f"only Uniform() weights depend on the lag alone, not {type(p.weighting).__name__}."
    if not p.regular:
        return "times are given, so that the grid may be irregular."
    if p.visibility.mask is not None:
        return "a mask is given, or there is no key."
    if p.visibility.queries > p.visibility.keys:
        return "there are more queries than keys."
    if not hasattr(xp, "fft"):
        return "the array library has no Fourier transforms."
    if array_api_compat.is_dask_namespace(cast(Any, xp)):
        return "dask transforms along unbroken axes only."
    return ""


def reservation(p: Problem, xp: Namespace) -> str:
    """Return why another implementation is preferred where this one could run, if so."""
    if p.visibility.queries < CROSSOVER:
        return f"pairs are faster for fewer than {CROSSOVER} queries."
    return ""


def linear(p: Problem, *, xp: Namespace) -> tuple[Pair, Array | RadialTangential]:
    """Return estimate and precision by equation (4.1), (5.1) or (6.2) with w = 1."""
    sde = p.sde
    if isinstance(sde, DiagonalSDE):
        return _diagonal(p, xp=xp)
    if not isinstance(sde, RadialTangentialSDE):
        return _isotropic(p, sde.noise, xp=xp)
    assert p.anchor is not None
    (radial, along), (tangential, across) = (
        _isotropic(p, noise, xp=xp) for noise in (sde.radial_noise, sde.tangential_noise)
    )
    mean = subtract(tangential, project(tangential, p.anchor, xp=xp))
    return add(mean, project(radial, p.anchor, xp=xp)), RadialTangential(along, across)


def _isotropic(p: Problem, noise: Noise, *, xp: Namespace) -> tuple[Pair, Array]:
    """Return mean and precision (..., n): all channels share one kernel."""
    frequency = p.sde.value_frequency
    v = rotate(p.value, -angle(frequency, p.key_times), xp=xp)
    channels = xp.matrix_transpose(pack(v, xp=xp))[..., None, :, :]  # (..., 1, 2d_v, m)
    parameters = (append_axes(x, 2) for x in (p.sde.decay, *noise))
    summed, precision = _filtered(p, channels, *parameters, xp=xp)
    mean = unpack(xp.matrix_transpose(summed[..., 0, :, :]))
    return rotate(mean, angle(frequency, p.query_times), xp=xp), precision[..., 0, :]


def _diagonal(p: Problem, *, xp: Namespace) -> tuple[Pair, Array]:
    """Return mean and precision (..., n, d): every mode has a kernel of its own."""
    frequency = p.sde.frequency
    v = rotate(p.value, -angle(frequency, p.key_times), xp=xp)
    channels = xp.stack([xp.matrix_transpose(part) for part in v], axis=-2)  # (..., d, 2, m)
    parameters = (append_axes(x, 1) for x in (p.sde.decay, *p.sde.noise))
    summed, precision = _filtered(p, channels, *parameters, xp=xp)
    mean = Pair(*(xp.matrix_transpose(summed[..., part, :]) for part in (0, 1)))
    return rotate(mean, angle(frequency, p.query_times), xp=xp), xp.matrix_transpose(precision)


def _filtered(
    p: Problem, channels: Array, decay: Parameter, *noise: Parameter, xp: Namespace
) -> tuple[Array, Array]:
    """Return Σ_j A_ij E_ij v_j, (..., groups, channels, n), and Σ_j 1/Σ_ij, (..., groups, n)."""
    keys, dtype, device = p.visibility.keys, channels.dtype, device_of(channels)
    length = pieces(keys)[1]
    lags = xp.arange(length, dtype=dtype, device=device)[None, :]
    covariance = residual_covariance(lags, decay, *noise, xp=xp)
    log_weight = -append_axes(p.inverse_temperature, 2) * xp.log(covariance / covariance[..., :1])
    decays = decay + xp.zeros((1, 1), dtype=dtype, device=device)
    kernel = Kernel(log_weight, 1.0 / covariance, decays)
    filling = xp.zeros((*channels.shape[:-1], length - keys), dtype=dtype, device=device)
    values = xp.concat([channels, filling], axis=-1)

    def backwards(x: Array) -> Array:
        return xp.concat([xp.flip(x[..., :keys], axis=-1), x[..., keys:]], axis=-1)

    def past(values: Array, log_total: Array, *, own: bool) -> Array:
        return mean_of_past(values, kernel, log_total, own=own, xp=xp)

    rows = cumulative(kernel, own=True, xp=xp)
    if p.visibility.causal:
        mean = past(values, rows.log_total(xp=xp), own=True)
    else:
        future = (backwards(x) for x in cumulative(kernel, own=False, xp=xp))
        rows = Sums(*merging(xp)(rows, tuple(future)))
        log_total = rows.log_total(xp=xp)
        mean = past(values, log_total, own=True)
        mean = mean + backwards(past(backwards(values), backwards(log_total), own=False))
    first = keys - p.visibility.queries
    return mean[..., first:keys], rows.precision[..., first:keys]
