"""The linear case: with `Uniform()` weights on a regular grid attention is a convolution.

The weight Σ(Δ)^{−β} of a pair depends on its lag alone, so the sums of n rows over n keys take
O(n log² n) operations instead of n², and no array of pairs is held in memory.
"""

from __future__ import annotations

from typing import Any, cast

import array_api_compat

from afa_core._array.arrays import (
    Array,
    Namespace,
    Parameter,
    append_axes,
    device_of,
    in_one_rank,
    with_rank,
)
from afa_core._array.pairs import Pair, add, angle, pack, project, rotate, subtract, unpack
from afa_core._checks.problem import Problem
from afa_core.linear.convolution import (
    Kernel,
    LagSums,
    combine_sums,
    cumulative_sums,
    leaves_of,
    mean_of_past,
)
from afa_core.model.covariance import residual_covariance
from afa_core.model.sde import DiagonalSDE, Noise, RadialTangential, RadialTangentialSDE
from afa_core.model.weighting import Uniform

CROSSOVER = 128
"""Number of queries from which it is faster than the reference, measured on a CPU."""


def refusal(problem: Problem, xp: Namespace) -> str:
    """Return why attention is not a convolution here or cannot be computed as one, else ""."""
    if not isinstance(problem.weighting, Uniform):
        name = type(problem.weighting).__name__
        return f"only Uniform() weights depend on the lag alone, not {name}."
    if not problem.regular:
        return "times are given, so that the grid may be irregular."
    if problem.visibility.mask is not None:
        return "a mask is given, or there is no key."
    if problem.visibility.queries > problem.visibility.keys:
        return "there are more queries than keys."
    if not hasattr(xp, "fft"):
        return "the array library has no Fourier transforms."
    if array_api_compat.is_dask_namespace(cast(Any, xp)):
        return "dask transforms along unbroken axes only."
    return ""


def reservation(problem: Problem, xp: Namespace) -> str:
    """Return why another implementation is preferred although this one can run, else ""."""
    if problem.visibility.queries < CROSSOVER:
        return f"pairs are faster for fewer than {CROSSOVER} queries."
    return ""


def uniform_attention(problem: Problem, *, xp: Namespace) -> tuple[Pair, Array | RadialTangential]:
    """Return estimate and precision by equation (4.1), (5.1) or (6.2) with w = 1."""
    sde, anchor = problem.sde, problem.anchor
    if isinstance(sde, DiagonalSDE):
        return _diagonal(problem, xp=xp)
    if not isinstance(sde, RadialTangentialSDE):
        return _isotropic(problem, sde.noise, xp=xp)
    assert anchor is not None
    radial, radial_precision = _isotropic(problem, sde.radial_noise, xp=xp)
    tangential, tangential_precision = _isotropic(problem, sde.tangential_noise, xp=xp)
    across = subtract(tangential, project(tangential, anchor, xp=xp))
    mean = add(across, project(radial, anchor, xp=xp))
    return mean, RadialTangential(radial_precision, tangential_precision)


def _isotropic(problem: Problem, noise: Noise, *, xp: Namespace) -> tuple[Pair, Array]:
    """Return mean and precision (..., n): all channels share one kernel."""
    frequency = problem.sde.value_frequency
    v = rotate(problem.value, -angle(frequency, problem.key_times), xp=xp)
    channels = xp.matrix_transpose(pack(v, xp=xp))[..., None, :, :]  # (..., 1, 2d_v, m)
    parameters = (append_axes(x, 2) for x in (problem.sde.decay, *noise))
    summed, precision = _convolved(problem, channels, *parameters, xp=xp)
    mean = unpack(xp.matrix_transpose(summed[..., 0, :, :]))
    return rotate(mean, angle(frequency, problem.query_times), xp=xp), precision[..., 0, :]


def _diagonal(problem: Problem, *, xp: Namespace) -> tuple[Pair, Array]:
    """Return mean and precision (..., n, d): every mode has a kernel of its own."""
    frequency = problem.sde.frequency
    v = rotate(problem.value, -angle(frequency, problem.key_times), xp=xp)
    channels = xp.stack([xp.matrix_transpose(part) for part in v], axis=-2)  # (..., d, 2, m)
    parameters = (append_axes(x, 1) for x in (problem.sde.decay, *problem.sde.noise))
    summed, precision = _convolved(problem, channels, *parameters, xp=xp)
    mean = Pair(*(xp.matrix_transpose(summed[..., part, :]) for part in (0, 1)))
    mean = rotate(mean, angle(frequency, problem.query_times), xp=xp)
    return mean, xp.matrix_transpose(precision)


def _convolved(
    problem: Problem, channels: Array, decay: Parameter, *noise: Parameter, xp: Namespace
) -> tuple[Array, Array]:
    """Return Σ_j A_ij E_ij v_j, (..., groups, channels, n), and Σ_j 1/Σ_ij, (..., groups, n)."""
    keys, length = problem.visibility.keys, leaves_of(problem.visibility.keys)[1]
    kernel = _kernel(problem, length, decay, *noise, like=channels, xp=xp)
    padding = xp.zeros(
        (*channels.shape[:-1], length - keys), dtype=channels.dtype, device=device_of(channels)
    )
    values = xp.concat([channels, padding], axis=-1)

    def reverse(x: Array) -> Array:
        return xp.concat([xp.flip(x[..., :keys], axis=-1), x[..., keys:]], axis=-1)

    def past(values: Array, log_total: Array, *, include_own: bool) -> Array:
        return mean_of_past(values, kernel, log_total, include_own=include_own, xp=xp)

    rows = cumulative_sums(kernel, include_own=True, xp=xp)
    if problem.visibility.causal:
        mean = past(values, rows.log_total(xp=xp), include_own=True)
    else:
        future = (reverse(x) for x in cumulative_sums(kernel, include_own=False, xp=xp))
        rows = LagSums(*combine_sums(xp)(rows, tuple(future)))
        log_total = rows.log_total(xp=xp)
        mean = past(values, log_total, include_own=True)
        mean = mean + reverse(past(reverse(values), reverse(log_total), include_own=False))
    first = keys - problem.visibility.queries
    return mean[..., first:keys], rows.precision[..., first:keys]


def _kernel(
    problem: Problem,
    length: int,
    decay: Parameter,
    *noise: Parameter,
    like: Array,
    xp: Namespace,
) -> Kernel:
    """Return the weights of `length` lags, of the dtype and on the device of `like`."""
    dtype, device, rank = like.dtype, device_of(like), len(problem.leading) + 2
    lags = with_rank(xp.arange(length, dtype=dtype, device=device), rank)
    beta = append_axes(problem.inverse_temperature, 2)
    lags, beta, decay, *of_noise = in_one_rank(lags, beta, decay, *noise)
    covariance = residual_covariance(lags, decay, *of_noise, xp=xp)
    log_weight = -beta * xp.log(covariance / covariance[..., :1])
    return Kernel(
        log_weight, 1.0 / covariance, decay + xp.zeros((1,) * rank, dtype=dtype, device=device)
    )
