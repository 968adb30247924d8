"""The influence of keys whose errors are correlated: the weights of the exact filter (spec §14).

Two keys predict a query with errors that share the process noise since the later of them. Least
squares over such predictions is the Kalman filter, whose estimate is a weighted sum of the carried
keys, with weights that factor into a number of the key and one of the query:

    a_ij = K_j e^{C_i − C_j},  C_j = Σ_{l≤j} log(1 − K_l),  Σ_j a_ij = 1.        (14.1)

Arrays of keys here have an axis of modes, (..., m, d), of length 1 where modes share their noise;
so have parameters, (..., 1, d).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import reduce
from operator import add
from typing import NamedTuple

from afa_core._array.arrays import Array, Namespace, Parameter, broadcast_shape, device_of
from afa_core._array.products import matmul
from afa_core._array.scan import Combine, fractional, prefixes, previous, running_sums
from afa_core.model.covariance import decay_factor, propagated_covariance

TOKENS = -2
"""The axis of keys or queries."""
MAX_LOG_LOSS = 1e6
"""Stands for −log(1 − K) of a key without noise, K = 1: no earlier key counts beside it."""


class Dynamics(NamedTuple):
    """Decay and noise of the state, and the precision of its prior, zero for a diffuse one."""

    decay: Parameter  # μ
    process: Parameter  # σ²
    measurement: Parameter  # η²
    precision: Parameter = 0.0  # J

    def variance_after(self, gain: Array, lag: Array, *, xp: Namespace) -> Array:
        """Return E²P + V, the variance of a prediction where P = Kη²."""
        carried = decay_factor(lag, self.decay, xp=xp) ** 2 * gain * self.measurement
        return carried + propagated_covariance(lag, self.decay, self.process, xp=xp)


class FilterGains(NamedTuple):
    """A pass of the filter over the keys: what it holds at each of them.

    At a hidden key that is what it held at the latest visible one.
    """

    gain: Array  # K_j, (..., m, d); zero before the first visible key
    log_kept: tuple[Array, ...]  # terms of C_j, (..., m, d), from zero at the first visible key
    time: Array  # of the latest visible key, (..., m, 1)
    seen: Array  # whether there is one, (..., m, 1)

    def map(self, function: Callable[[Array], Array]) -> FilterGains:
        """Apply a function to every array."""
        terms = tuple(function(each) for each in self.log_kept)
        return FilterGains(function(self.gain), terms, function(self.time), function(self.seen))


class Influence(NamedTuple):
    """The weights of the exact estimate, and its variance."""

    log_weight: Array  # log a_ij, (..., n, m, d); of no meaning where a pair is hidden
    variance: Array  # P_i, (..., n, d)
    missing: Array | None = None  # 1 − Σ_j a_ij, (..., n, d), where it is not zero


def filter_gains(times: Array, visible: Array, model: Dynamics, *, xp: Namespace) -> FilterGains:
    r"""Return the gains of the filter over keys in their order, by an associative scan.

    P⁻_j = E(h_j)²P + V(h_j),  K_j = P⁻_j/(P⁻_j + η²),  P_j = K_jη², where h_j is the time since
    the visible key before, and K = 1/(1 + η²J) at the first. It is carried out on K itself,
    K ↦ (cK + b)/(cK + 1) with c = η²E²/(η² + V), b = V/(η² + V): nothing overflows for small η².

    Parameters
    ----------
    times, visible : array, shape (..., m)
        Times of hidden keys are not read.
    """
    shape = broadcast_shape({"times": times.shape, "visible": visible.shape})
    time, visible = (xp.broadcast_to(x, shape)[..., None] for x in (times, visible))
    latest = prefixes(_later_visible(xp), (time, visible), axis=TOKENS, xp=xp)
    earlier_time, earlier_seen = (_before(x, xp=xp) for x in latest)
    continued = xp.logical_and(visible, earlier_seen)
    lag = xp.where(continued, time - earlier_time, 0.0)

    carried = decay_factor(lag, model.decay, xp=xp) ** 2
    driven = propagated_covariance(lag, model.decay, model.process, xp=xp)
    total = driven + model.measurement
    safe = xp.where(total > 0.0, total, 1.0)
    slope = xp.where(total > 0.0, carried * model.measurement / safe, 0.0)
    constant = xp.where(total > 0.0, driven / safe, 0.0)
    start = 1.0 / (1.0 + model.measurement * model.precision)
    start = xp.where(visible, start + xp.zeros_like(slope), 0.0)  # at the first visible key
    maps = (
        xp.where(continued, slope, xp.astype(xp.logical_not(visible), slope.dtype)),
        xp.where(continued, constant, start),
        xp.where(continued, slope, 0.0),
    )
    _, gain, _ = prefixes(fractional, maps, axis=TOKENS, xp=xp)

    noisy = model.measurement + xp.zeros_like(driven) > 0.0
    ratio = driven / xp.where(noisy, model.measurement, 1.0) + carried * _before(gain, xp=xp)
    loss = xp.where(driven > 0.0, MAX_LOG_LOSS, xp.zeros_like(ratio))
    loss = xp.where(noisy, xp.log1p(ratio), loss)
    loss = xp.where(continued, xp.where(loss < MAX_LOG_LOSS, loss, MAX_LOG_LOSS), 0.0)
    return FilterGains(gain, running_sums(-loss, axis=TOKENS, xp=xp), *latest)


def filtered(keys: FilterGains, query_times: Array, model: Dynamics, *, xp: Namespace) -> Influence:
    """Return the influence of keys on queries that see them as a causal sequence, (14.1).

    The queries, at times (..., n), are the last n of the m tokens.
    """
    rows = keys.map(lambda x: _last(x, query_times.shape[-1], xp=xp))
    lag = xp.where(rows.seen, query_times[..., None] - rows.time, 0.0)
    return Influence(
        _carried(rows.log_kept, keys, xp=xp), model.variance_after(rows.gain, lag, xp=xp)
    )


def smoothed(
    key_times: Array, query_times: Array, visible: Array, model: Dynamics, *, xp: Namespace
) -> Influence:
    r"""Return the influence of keys on both sides of the queries, (14.3).

    Filters run over the keys in the order of their times, from both ends. At a query, with f the
    last visible key that is not later and g the first that is, ℓᶠ = 1/(E²P_f + V), ℓᵍ likewise,

        1/P = ℓᶠ + ℓᵍ − J,
        a_j = Pℓᶠ K_j e^{C_f − C_j} (j ≤ f),  a_j = Pℓᵍ K_j e^{C_g − C_j} (j ≥ g)

    with K and C of the filter of that side. Their sum is 1 − P(ℓᶠsᶠ + ℓᵍsᵍ − J), where s is the
    influence of the prior on the filter, η²J/(1 + η²J) e^C: all three terms vanish with J.
    """
    position = xp.arange(key_times.shape[-1], dtype=key_times.dtype, device=device_of(key_times))
    last_if_hidden = xp.where(visible, key_times, xp.inf)
    own, other = last_if_hidden[..., :, None], last_if_hidden[..., None, :]
    tied = xp.logical_and(other == own, position < position[:, None])
    place = _count(xp.logical_or(other < own, tied), xp=xp)  # of every key, sorted by time
    by_time = _one_hot(place[..., None, :], position[:, None], xp=xp)
    times, shown = (
        matmul(by_time, xp.astype(x, by_time.dtype)[..., None], xp=xp)[..., 0]
        for x in (key_times, visible)
    )
    shown = shown > 0.0
    ahead = filter_gains(times, shown, model, xp=xp)
    times, shown = (xp.flip(x, axis=-1) for x in (times, shown))
    behind = filter_gains(times, shown, model, xp=xp)
    behind = behind.map(lambda x: xp.flip(x, axis=TOKENS))

    past = key_times[..., None, :] <= query_times[..., :, None]  # (..., n, m)
    before = _count(xp.logical_and(past, visible[..., None, :]), xp=xp)[..., None]
    last, first = (_one_hot(each, position, xp=xp) for each in (before - 1.0, before))
    there = before > 0.0, before < _count(visible, xp=xp)[..., None, None]
    f = _side(ahead, by_time, last, there[0], query_times, model, xp=xp)
    g = _side(behind, by_time, first, there[1], query_times, model, xp=xp)

    total = f.precision + (g.precision - model.precision)
    variance = 1.0 / xp.where(total > 0.0, total, 1.0)  # none without a key and without a prior
    missing = variance * (f.precision * f.share + (g.precision * g.share - model.precision))
    weight, later_weight = (
        each.log_weight + _log(each.precision * variance, xp=xp)[..., None, :] for each in (f, g)
    )
    weight = xp.where(past[..., None], weight, later_weight)
    exact = xp.logical_or(f.exact, g.exact)
    return Influence(weight, xp.where(exact, 0.0, variance), missing)


class Side(NamedTuple):
    """What the filter over the keys on one side knows of the queries, (..., n, d)."""

    precision: Array  # ℓ, that of the prior if there is no key
    share: Array  # s, of the prior in the filter's estimate
    log_weight: Array  # log of K_j e^{C_f − C_j}, (..., n, m, d), the keys in their own order
    exact: Array  # whether the query is at a key without noise


def _side(
    keys: FilterGains,
    by_time: Array,
    nearest: Array,
    there: Array,
    query_times: Array,
    model: Dynamics,
    *,
    xp: Namespace,
) -> Side:
    """Predict the queries from the keys nearest to them, `there` being whether there is one.

    The keys are sorted by time. Matrices choose among them, (..., m, m) and (..., n, m).
    """
    rows = _selected(keys, nearest, xp=xp)
    lag = xp.where(there, query_times[..., None] - rows.time, 0.0)
    variance = model.variance_after(rows.gain, lag, xp=xp)
    floor = xp.finfo(variance.dtype).smallest_normal ** 0.5
    precision = 1.0 / xp.where(variance > floor, variance, floor)
    start = model.measurement * model.precision
    share = start / (1.0 + start) * xp.exp(reduce(add, rows.log_kept))
    in_order = _selected(keys, xp.matrix_transpose(by_time), xp=xp)
    return Side(
        xp.where(there, precision, model.precision),
        xp.where(there, share, 1.0),
        _carried(rows.log_kept, in_order, xp=xp),
        xp.logical_and(there, variance <= floor),
    )


def _selected(keys: FilterGains, matrix: Array, *, xp: Namespace) -> FilterGains:
    """Return what the filter holds at the keys that the rows of a one-hot matrix select."""
    return keys.map(lambda x: matmul(matrix, xp.astype(x, matrix.dtype, copy=False), xp=xp))


def _carried(log_kept: Iterable[Array], keys: FilterGains, *, xp: Namespace) -> Array:
    """Return log K_j + C_i − C_j, (..., n, m, d), where `log_kept` has the terms of C_i."""
    terms = zip(log_kept, keys.log_kept, strict=True)
    lost = (row[..., :, None, :] - key[..., None, :, :] for row, key in terms)
    return _log(keys.gain, xp=xp)[..., None, :, :] + reduce(add, lost)


def _log(x: Array, *, xp: Namespace) -> Array:
    """Return log x, −∞ at zero, where its derivative is zero."""
    return xp.where(x > 0.0, xp.log(xp.where(x > 0.0, x, 1.0)), -xp.inf)


def _later_visible(xp: Namespace) -> Combine:
    """Return the operation on (time, visible) that keeps the later one if it is visible."""

    def combine(one: tuple[Array, ...], two: tuple[Array, ...]) -> tuple[Array, ...]:
        (time, seen), (later_time, later_seen) = one, two
        return xp.where(later_seen, later_time, time), xp.logical_or(seen, later_seen)

    return combine


def _before(x: Array, *, xp: Namespace) -> Array:
    """Return what stands at the key before, zeros at the first."""
    return previous(xp.zeros_like(x[..., :1, :]), x, axis=TOKENS, xp=xp)


def _last(x: Array, count: int, *, xp: Namespace) -> Array:
    """Return the last tokens; zeros stand before the first."""
    tokens = x.shape[TOKENS]
    if count <= tokens:
        return x[..., tokens - count :, :]
    shape = (*x.shape[:-2], count - tokens, x.shape[-1])
    return xp.concat([xp.zeros(shape, dtype=x.dtype, device=device_of(x)), x], axis=TOKENS)


def _count(x: Array, *, xp: Namespace) -> Array:
    """Count what is true along the last axis, as a floating number."""
    return xp.sum(xp.astype(x, xp.float32), axis=-1)


def _one_hot(x: Array, y: Array, *, xp: Namespace) -> Array:
    """Return 1 where two arrays of whole numbers agree, else 0, in the dtype of positions."""
    return xp.astype(x == y, y.dtype)
