"""Generalised least squares with the full covariance, by dense linear algebra."""

from __future__ import annotations

from afa_core._array.arrays import Array, Namespace, append_axes, device_of, with_rank
from afa_core._array.products import matmul
from afa_core.kalman.backward import Smoothed
from afa_core.kalman.measurements import FilterArguments, Measurements, prepare_measurements
from afa_core.model.covariance import decay_factor, propagated_covariance
from afa_core.model.rotating_frame import StateLayout
from afa_core.model.sde import DiagonalSDE, IsotropicSDE

ROUNDINGS = 64
"""How many roundings of V an error of one token alone has at least."""


def batch_mle(
    measurements: Array,
    times: Array | None,
    sde: IsotropicSDE | DiagonalSDE,
    *,
    causal: bool = True,
    observed: Array | None = None,
    layout: StateLayout = "interleaved",
) -> Smoothed:
    """Estimate the state at each time by dense generalised least squares, without a prior.

    For every i, each past token gives ẑ_ij = e^{λΔ_ij}z_j = x_i + error, the errors having
    covariance V(min(Δ_ij, Δ_il)) + δ_jl η²E_ij². Each future token gives z_j = e^{λ(t_j−t_i)}x_i +
    error, of covariance E(|t_j − t_l|)V(min(t_j − t_i, t_l − t_i)) + δ_jl η². Given x_i, past and
    future are independent. Past and future are distinguished by index.

    It takes O(n⁴) time and O(n³) memory per mode: it is for tests and small problems. It is
    inaccurate where η²E_ij² is below the rounding error of V (μ(t_i − t_j) above 15 in double
    precision), to which it is then raised so that the equations stay regular. Of tokens without
    any error, or with one whose inverse may overflow, the first determines x_i alone.

    Parameters
    ----------
    measurements, times, sde, observed, layout
        As in `filter`.
    causal : bool
        If True, x_i is estimated from tokens j ≤ i, which is what `filter` computes; if False
        from all, which is what `smoother` computes.

    Returns
    -------
    Smoothed

    Raises
    ------
    TypeError, ValueError
        As in `filter`.

    References
    ----------
    Spec §11.

    Examples
    --------
    >>> import numpy as np
    >>> from afa_core import IsotropicSDE, Noise
    >>> flow = np.asarray([[1120.0], [1160.0], [963.0]])
    >>> walk = IsotropicSDE(0.0, 0.0, Noise(process=1469.1, measurement=15099.0, query=0.0))
    >>> batch_mle(flow, None, walk, layout="real").mean[:, 0]
    array([1120.        , 1140.92783993, 1072.79852953])
    """
    if not isinstance(causal, bool):
        msg = f"`causal` must be True or False, got {type(causal).__name__}. See also `observed`."
        raise TypeError(msg)
    data, xp = prepare_measurements(
        FilterArguments(measurements, times, sde, None, observed, layout)
    )
    past, counted = _visibility(data, causal, xp=xp)
    covariance, own, decayed = _errors(data, past, xp=xp)
    design = xp.where(past, 1.0, decayed)  # (1, ..., d, n, n)
    counted = xp.logical_and(counted, design > 0.0)
    limits = xp.finfo(own.dtype)
    least = float(limits.smallest_normal) / float(limits.eps)  # sums of whose inverses are finite
    counted, certain = _without_others(counted, own <= least, xp=xp)
    both = xp.logical_and(counted[..., :, None], counted[..., None, :])
    both = xp.logical_and(both, xp.logical_not(certain[..., None, None]))
    covariance = xp.where(both, covariance, _identity(data, xp=xp))
    design = xp.where(counted, design, 0.0)
    unit = xp.max(design, axis=-1, keepdims=True)  # below 1 where all tokens are later ones
    unit = xp.where(unit > 0.0, unit, 1.0)
    design = design / unit

    solved = xp.linalg.solve(covariance, design[..., None])[..., 0]
    precision = xp.sum(solved * design, axis=-1)  # (..., d, n)
    pulled = solved * xp.where(past, decayed, 1.0)
    value = xp.matrix_transpose(data.value)[..., None]  # (p, ..., d, n, 1)
    score = matmul(pulled, value, xp=xp)[..., 0]

    known = xp.any(counted, axis=-1)
    total = xp.where(known, precision, 1.0)
    unit = unit[..., 0]
    variance = xp.where(certain, 0.0, xp.where(known, 1.0 / total / unit / unit, xp.inf))
    mean = xp.where(variance == xp.inf, 0.0, score / total / unit)
    mean, variance = (xp.matrix_transpose(x) for x in (mean, variance))
    return Smoothed(data.write(mean, xp=xp), variance[0, ...])


def _visibility(data: Measurements, causal: bool, *, xp: Namespace) -> tuple[Array, Array]:
    """Return which j is no later than i, and which counts for i, (1, ..., d, n, n)."""
    tokens, index = data.observed.shape[-2], _index(data, data.observed.ndim, xp=xp)
    past = index[..., None, :] <= index[..., :, None]
    counted = xp.matrix_transpose(data.observed)[..., None, :]  # (..., d, 1, n)
    counted = xp.broadcast_to(counted, (*counted.shape[:-2], tokens, tokens))
    return past, xp.logical_and(counted, past) if causal else counted


def _without_others(counted: Array, exact: Array, *, xp: Namespace) -> tuple[Array, Array]:
    """Leave out all tokens but the first exact one, where there is any; return where that is."""
    exact = xp.logical_and(counted, exact)
    certain = xp.any(exact, axis=-1)  # (..., d, n)
    number = xp.cumulative_sum(xp.astype(exact, xp.int32), axis=-1)
    first = xp.logical_and(exact, number < 2)
    return xp.where(certain[..., None], first, counted), certain


def _errors(data: Measurements, past: Array, *, xp: Namespace) -> tuple[Array, Array, Array]:
    """Return the covariance of the errors, (..., d, n, n, n), its diagonal, and E_ij."""
    noise, elapsed = data.noise(xp=xp), data.steps.elapsed
    decay, process = (append_axes(x, 2) for x in (data.sde.decay, data.sde.noise.process))
    lag = xp.astype(elapsed[..., :, None] - elapsed[..., None, :], noise.dtype, copy=False)
    lag = abs(lag)[..., None, :, :]  # (..., 1, n, n)
    decayed = decay_factor(lag, decay, xp=xp)

    nearer = xp.minimum(lag[..., :, None], lag[..., None, :])  # (..., 1, n, n, n)
    shared = propagated_covariance(nearer, append_axes(decay, 1), append_axes(process, 1), xp=xp)
    future = xp.logical_not(past)
    past_both = xp.logical_and(past[..., :, None], past[..., None, :])
    future_both = xp.logical_and(future[..., :, None], future[..., None, :])
    forward = xp.where(future_both, decayed[..., None, :, :], 0.0)
    shared = shared * xp.where(past_both, 1.0, forward)

    own = append_axes(noise, 2) * xp.where(past, decayed**2, 1.0)  # (..., d, n, n)
    driven = propagated_covariance(lag, decay, process, xp=xp)
    rounding = ROUNDINGS * float(xp.finfo(own.dtype).eps) * driven
    own = xp.where(own > rounding, own, rounding)
    return shared + own[..., None] * _identity(data, xp=xp), driven + own, decayed


def _identity(data: Measurements, *, xp: Namespace) -> Array:
    """Return the identity matrix with the axes of covariances, (1, …, 1, n, n)."""
    index = _index(data, data.observed.ndim + 1, xp=xp)
    return xp.astype(index[..., :, None] == index[..., None, :], data.start.variance.dtype)


def _index(data: Measurements, rank: int, *, xp: Namespace) -> Array:
    """Return the places of tokens with so many axes."""
    device = device_of(data.observed)
    return with_rank(xp.arange(data.observed.shape[-2], dtype=xp.int32, device=device), rank)
