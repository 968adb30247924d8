"""Isotropic attention (spec §4) in NumPy, over tiles of keys that are merged (spec §9).

It is written from the specification only: of afa_core it uses the fields of the named tuples `sde`
and `weighting`.
"""

from typing import NamedTuple

import numpy as np

TILE = 32
EXCESS = 1.0  # the exponent of the Student-t weight is ν_s + 1


class PartialState(NamedTuple):
    """Sums over some of the keys, for every query (spec §9)."""

    peak: np.ndarray  # m = max βL, shape (..., n)
    total: np.ndarray  # Z = Σ exp(βL − m), shape (..., n)
    numerator: np.ndarray  # N = Σ exp(βL − m) e^{ΛΔ} v, shape (..., n, d_v)


def merge(one, two):
    """Return the state of two disjoint sets of keys together."""
    peak = np.maximum(one.peak, two.peak)
    shift = np.where(np.isneginf(peak), 0.0, peak)  # no key yet
    a, b = np.exp(one.peak - shift), np.exp(two.peak - shift)
    numerator = a[..., None] * one.numerator + b[..., None] * two.numerator
    return PartialState(peak, a * one.total + b * two.total, numerator)


def per_pair(x):
    """Give a parameter of shape (...) the axes of queries and keys."""
    return np.asarray(x, dtype=np.float64)[..., None, None]


def log_weight(weighting, distance, modes):
    """Return log w of the squared Mahalanobis distance (spec §3)."""
    kind = type(weighting).__name__
    if kind == "Uniform":
        return np.zeros_like(distance)
    if kind == "Gaussian":
        return -distance / modes
    dof = per_pair(weighting.dof)
    exponent = dof + EXCESS if kind == "StudentT" else 1.0
    return -exponent * np.log1p(distance / (dof * modes))


def covariances(lag, sde):
    """Return E and Σ, equations (2.1) and (2.2), of lags that are not negative."""
    decay = per_pair(sde.decay)
    process, measurement, query = (per_pair(x) for x in sde.noise)
    undamped = decay == 0.0
    damped = -np.expm1(-2.0 * decay * lag) / np.where(undamped, 1.0, 2.0 * decay)
    decay_factor = np.exp(-decay * lag)
    propagated = process * np.where(undamped, lag, damped)
    return decay_factor, propagated + measurement * decay_factor**2 + query


def rotation(lag, frequency):
    """Return e^{iωΔ}, shape (..., n, m, d), with the angle in double precision."""
    return np.exp(1j * lag[..., None] * np.atleast_1d(frequency)[..., None, None, :])


def read(x, layout):
    """Return the complex modes of an array (spec §8.1), in double precision."""
    if np.iscomplexobj(x):
        return x.astype(np.complex128)
    *leading, width = x.shape
    halves = layout == "halves"
    pairs = x.reshape(*leading, *((2, width // 2) if halves else (width // 2, 2)))
    pairs = pairs.swapaxes(-1, -2) if halves else pairs
    return np.ascontiguousarray(pairs, dtype=np.float64).view(np.complex128)[..., 0]


def write(modes, like, layout):
    """Return complex modes in the kind, layout and dtype of an array."""
    if np.iscomplexobj(like):
        return modes.astype(like.dtype)
    pairs = np.ascontiguousarray(modes)[..., None].view(np.float64)
    pairs = pairs.swapaxes(-1, -2) if layout == "halves" else pairs
    return pairs.reshape(*modes.shape[:-1], 2 * modes.shape[-1]).astype(like.dtype)


def estimate(
    query, key, value, sde, *, weighting, inverse_temperature=1.0, query_times=None, key_times=None,
    causal=True, mask=None, anchor=None, layout="interleaved",
):  # fmt: skip
    """Return the mean, shape (..., n, c_v), and the precision, shape (..., n)."""
    q, k, v = (read(x, layout) for x in (query, key, value))
    n, m, d = q.shape[-2], k.shape[-2], q.shape[-1]
    query_index, key_index = np.arange(m - n, m), np.arange(m)  # queries are the last tokens
    if query_times is None and key_times is None:
        query_times, key_times = query_index, key_index
    query_times = key_times[..., m - n :] if query_times is None else query_times
    key_times = query_times if key_times is None else key_times
    value_frequency = sde.frequency if sde.value_frequency is None else sde.value_frequency
    if mask is not None:
        mask = np.broadcast_to(mask, np.broadcast_shapes(np.shape(mask), (n, m)))

    rows = (*np.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2]), n)
    zeros = np.zeros((*rows, v.shape[-1]), dtype=np.complex128)
    state = PartialState(np.full(rows, -np.inf), np.zeros(rows), zeros)
    log_precision = np.full(rows, -np.inf)
    for start in range(0, m, TILE):
        j = slice(start, start + TILE)
        visible = (key_index[j] <= query_index[:, None]) | (not causal)
        visible = visible if mask is None else visible & mask[..., j]
        # hidden tokens may be NaN, so they are replaced before any arithmetic
        lag = np.where(visible, query_times[..., :, None] - key_times[..., None, j], 0)
        lag = lag.astype(np.float64)
        keys = np.where(visible[..., None], k[..., None, j, :], 0.0)
        values = np.where(visible[..., None], v[..., None, j, :], 0.0)

        decay_factor, sigma = covariances(np.abs(lag), sde)
        transition = decay_factor[..., None] * rotation(lag, sde.frequency)
        residual = q[..., :, None, :] - transition * keys
        square = np.sum(residual.real**2 + residual.imag**2, axis=-1)
        logit = -np.log(sigma) + log_weight(weighting, square / sigma, d)
        log_sum = np.logaddexp.reduce(np.where(visible, logit, -np.inf), axis=-1)
        log_precision = np.logaddexp(log_precision, log_sum)

        logit = np.where(visible, per_pair(inverse_temperature) * logit, -np.inf)
        peak = np.max(logit, axis=-1)
        weight = np.exp(logit - np.where(np.isneginf(peak), 0.0, peak)[..., None])
        propagated = decay_factor[..., None] * rotation(lag, value_frequency) * values
        numerator = np.sum(weight[..., None] * propagated, axis=-2)
        state = merge(state, PartialState(peak, np.sum(weight, axis=-1), numerator))

    mean = state.numerator / np.where(state.total == 0.0, 1.0, state.total)[..., None]
    dtype = np.result_type(query.real, key.real, value.real)  # of the computation (spec §8.5)
    precision = np.broadcast_to(np.exp(log_precision), mean.shape[:-1]).astype(dtype)
    return write(mean, value, layout), precision


def attention(*arguments, **options):
    """Return the mean alone; takes the arguments of `estimate`."""
    return estimate(*arguments, **options)[0]


attention.supports = {"form": ("isotropic",), "dtype": ("float64", "float32")}
attention.tiles = (TILE,)
attention.estimate = estimate
