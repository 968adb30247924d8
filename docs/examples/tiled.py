"""Isotropic attention (spec §4) in plain NumPy, one tile of keys after another (spec §9).

It is written from the specification alone: of afa_core it uses nothing but the fields of the
tuples `sde` and `weighting` that it is given.
"""

from typing import NamedTuple

import numpy as np

TILE = 32
EXCESS = 1.0  # the exponent of the Student-t weight is ν_s + 1


class State(NamedTuple):
    """What some of the keys add up to, for every query (spec §9)."""

    peak: np.ndarray  # m = max βL, shape (..., n)
    total: np.ndarray  # Z = Σ exp(βL − m), shape (..., n)
    numerator: np.ndarray  # N = Σ exp(βL − m) e^{ΛΔ} v, shape (..., n, d_v)


def merge(one, two):
    """Return the state of two disjoint sets of keys."""
    peak = np.maximum(one.peak, two.peak)
    shift = np.where(np.isneginf(peak), 0.0, peak)  # no key seen yet
    a, b = np.exp(one.peak - shift), np.exp(two.peak - shift)
    numerator = a[..., None] * one.numerator + b[..., None] * two.numerator
    return State(peak, a * one.total + b * two.total, numerator)


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
    """Return E, equation (2.2), and Σ, equations (2.1) and (2.2), of lags that are not negative."""
    decay = per_pair(sde.decay)
    process, measurement, query = (per_pair(x) for x in sde.noise)
    still = decay == 0.0
    slow = -np.expm1(-2.0 * decay * lag) / np.where(still, 1.0, 2.0 * decay)
    fading = np.exp(-decay * lag)
    return fading, process * np.where(still, lag, slow) + measurement * fading**2 + query


def turn(lag, frequency):
    """Return e^{iωΔ}, shape (..., n, m, d), the angle in double precision."""
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
    place, places = np.arange(m - n, m), np.arange(m)  # queries are the last n of the m tokens
    if query_times is None and key_times is None:
        query_times, key_times = place, places
    query_times = key_times[..., m - n :] if query_times is None else query_times
    key_times = query_times if key_times is None else key_times
    value_frequency = sde.frequency if sde.value_frequency is None else sde.value_frequency
    if mask is not None:
        mask = np.broadcast_to(mask, np.broadcast_shapes(np.shape(mask), (n, m)))

    rows = (*np.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2]), n)
    nothing = np.zeros((*rows, v.shape[-1]), dtype=np.complex128)
    state = State(np.full(rows, -np.inf), np.zeros(rows), nothing)
    log_precision = np.full(rows, -np.inf)
    for start in range(0, m, TILE):
        j = slice(start, start + TILE)
        seen = (places[j] <= place[:, None]) | (not causal)
        seen = seen if mask is None else seen & mask[..., j]
        # what is hidden is taken away before anything is computed from it
        lag = np.where(seen, query_times[..., :, None] - key_times[..., None, j], 0)
        lag = lag.astype(np.float64)
        keys = np.where(seen[..., None], k[..., None, j, :], 0.0)
        values = np.where(seen[..., None], v[..., None, j, :], 0.0)

        fading, sigma = covariances(np.abs(lag), sde)
        residual = q[..., :, None, :] - fading[..., None] * turn(lag, sde.frequency) * keys
        square = np.sum(residual.real**2 + residual.imag**2, axis=-1)
        logit = -np.log(sigma) + log_weight(weighting, square / sigma, d)
        log_sum = np.logaddexp.reduce(np.where(seen, logit, -np.inf), axis=-1)
        log_precision = np.logaddexp(log_precision, log_sum)

        logit = np.where(seen, per_pair(inverse_temperature) * logit, -np.inf)
        peak = np.max(logit, axis=-1)
        weight = np.exp(logit - np.where(np.isneginf(peak), 0.0, peak)[..., None])
        carried = fading[..., None] * turn(lag, value_frequency) * values
        numerator = np.sum(weight[..., None] * carried, axis=-2)
        state = merge(state, State(peak, np.sum(weight, axis=-1), numerator))

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
