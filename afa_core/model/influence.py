"""The influence of keys whose errors are correlated: the weights of the exact filter (spec §14).

Two keys predict a query with errors that share the process noise since the later of them. Least
squares over such predictions is the Kalman filter, whose estimate is a weighted sum of the carried
keys, with weights that factor into a number of the key and one of the query:

    a_ij = K_j e^{C_i − C_j},  C_j = Σ_{l≤j} log(1 − K_l),  Σ_j a_ij = 1.        (14.1)

Arrays of keys here have an axis of modes, (..., m, d), of length 1 where modes share their noise;
so have parameters, (..., 1, d).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import add
from typing import NamedTuple, TypeAlias

from afa_core._array.arrays import Array, Namespace, Parameter, broadcast_shape, device_of
from afa_core._array.scan import Combine, add_sums, fractional, prefixes, previous, running_sums
from afa_core._array.sorting import Order
from afa_core.model.covariance import decay_factor, propagated_covariance

Terms: TypeAlias = tuple[Array, ...]
"""Arrays whose sum is meant."""
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
    log_kept: Terms  # of C_j, (..., m, d), from zero at the first visible key
    time: Array  # of the latest visible key, (..., m, 1)
    seen: Array  # whether there is one, (..., m, 1)

    def map(self, function: Callable[[Array], Array]) -> FilterGains:
        """Apply a function to every array."""
        terms = tuple(function(each) for each in self.log_kept)
        return FilterGains(function(self.gain), terms, function(self.time), function(self.seen))


class Direction(NamedTuple):
    """The influence of keys in one direction: log a_ij is Σ query_i − key_j over the terms.

    The sums are as large as the logarithm of a weight over the whole sequence, their differences
    are not: terms are subtracted first.
    """

    query: Terms  # of C_i, (..., n, d)
    key: Terms  # of C_j − log K_j, (..., m, d); infinite where K_j is zero


class Influence(NamedTuple):
    """The weights of the exact estimate, and its variance."""

    variance: Array  # P_i, (..., n, d)
    directions: tuple[Direction, ...]  # that of keys not later than the query, that of later ones
    missing: Array | None = None  # 1 − Σ_j a_ij, (..., n, d), where it is not zero


def no_keys(times: Array, visible: Array, model: Dynamics, *, xp: Namespace) -> FilterGains:
    """Return what the filter holds before the first key, (..., 1, d), for keys like those given."""
    shape = broadcast_shape({"times": times.shape[:-1], "visible": visible.shape[:-1]})
    time = xp.zeros((*shape, 1, 1), dtype=times.dtype, device=device_of(times))
    gain = xp.zeros_like(time + model.decay + model.process + model.measurement)
    seen = xp.zeros_like(time, dtype=xp.bool)
    return FilterGains(gain, running_sums(gain, axis=TOKENS, xp=xp), time, seen)


def filter_gains(
    times: Array,
    visible: Array,
    model: Dynamics,
    *,
    before: FilterGains | None = None,
    xp: Namespace,
) -> FilterGains:
    r"""Return the gains of the filter over keys in their order, by an associative scan.

    P⁻_j = E(h_j)²P + V(h_j),  K_j = P⁻_j/(P⁻_j + η²),  P_j = K_jη², where h_j is the time since
    the visible key before, and K = 1/(1 + η²J) at the first. It is carried out on K itself,
    K ↦ (cK + b)/(cK + 1) with c = η²E²/(η² + V), b = V/(η² + V): nothing overflows for small η².

    Parameters
    ----------
    times, visible : array, shape (..., m)
        Times of hidden keys are not read.
    before : FilterGains, or None
        What the filter holds at the key before the first of these, (..., 1, d), if they continue a
        sequence.
    """
    start = no_keys(times, visible, model, xp=xp) if before is None else before
    shape = broadcast_shape({"times": times.shape, "visible": visible.shape})
    time, visible = (xp.broadcast_to(x, shape)[..., None] for x in (times, visible))
    latest = prefixes(_later_visible(xp), (time, visible), axis=TOKENS, xp=xp)
    latest = _later_visible(xp)((start.time, start.seen), latest)
    earlier_time = _before(start.time, latest[0], xp=xp)
    earlier_seen = _before(start.seen, latest[1], xp=xp)
    continued = xp.logical_and(visible, earlier_seen)
    lag = xp.where(continued, time - earlier_time, 0.0)

    carried = decay_factor(lag, model.decay, xp=xp) ** 2
    driven = propagated_covariance(lag, model.decay, model.process, xp=xp)
    total = driven + model.measurement
    safe = xp.where(total > 0.0, total, 1.0)
    slope = xp.where(total > 0.0, carried * model.measurement / safe, 0.0)
    constant = xp.where(total > 0.0, driven / safe, 0.0)
    first = 1.0 / (1.0 + model.measurement * model.precision)
    first = xp.where(visible, first + xp.zeros_like(slope), 0.0)  # at the first visible key
    maps = (
        xp.where(continued, slope, xp.astype(xp.logical_not(visible), slope.dtype)),
        xp.where(continued, constant, first),
        xp.where(continued, slope, 0.0),
    )
    a, b, c = prefixes(fractional, maps, axis=TOKENS, xp=xp)
    gain = (a * start.gain + b) / (c * start.gain + 1.0)

    noisy = model.measurement + xp.zeros_like(driven) > 0.0
    earlier_gain = _before(start.gain, gain, xp=xp)
    ratio = driven / xp.where(noisy, model.measurement, 1.0) + carried * earlier_gain
    loss = xp.where(driven > 0.0, MAX_LOG_LOSS, xp.zeros_like(ratio))
    loss = xp.where(noisy, xp.log1p(ratio), loss)
    loss = xp.where(continued, xp.where(loss < MAX_LOG_LOSS, loss, MAX_LOG_LOSS), 0.0)
    log_kept = add_sums(start.log_kept, running_sums(-loss, axis=TOKENS, xp=xp))
    return FilterGains(gain, log_kept, *latest)


def filtered(keys: FilterGains, query_times: Array, model: Dynamics, *, xp: Namespace) -> Influence:
    """Return the influence of keys on queries that see them as a causal sequence, (14.1).

    The queries, at times (..., n), are the last n of the m tokens.
    """
    rows = keys.map(lambda x: _last(x, query_times.shape[-1], xp=xp))
    lag = xp.where(rows.seen, query_times[..., None] - rows.time, 0.0)
    variance = model.variance_after(rows.gain, lag, xp=xp)
    return Influence(variance, (Direction(rows.log_kept, _less_gain(keys, xp=xp)),))


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
    count = key_times.shape[-1]
    times, seen = _tokens_of(key_times, query_times, visible, xp=xp)  # queries are not measured
    order = Order(xp.where(seen[0], times, xp.inf), xp=xp)
    times, shown = (order.sort(x[..., None])[..., 0] for x in (times, seen[1]))
    ahead = filter_gains(times, shown, model, xp=xp)
    times, shown = (xp.flip(x, axis=-1) for x in (times, shown))
    behind = filter_gains(times, shown, model, xp=xp).map(lambda x: xp.flip(x, axis=TOKENS))
    ahead, behind = (each.map(order.restore) for each in (ahead, behind))

    f, g = (
        _side(each.map(lambda x: x[..., count:, :]), query_times, model, xp=xp)
        for each in (ahead, behind)
    )
    total = f.precision + (g.precision - model.precision)
    variance = 1.0 / xp.where(total > 0.0, total, 1.0)  # none without a key and without a prior
    missing = variance * (f.precision * f.share + (g.precision * g.share - model.precision))
    directions = []
    for side, keys in ((f, ahead), (g, behind)):
        *large, last = side.log_kept
        query = *large, last + _log(side.precision * variance, xp=xp)
        key = _less_gain(keys.map(lambda x: x[..., :count, :]), xp=xp)
        directions.append(Direction(query, key))
    exact = xp.logical_or(f.exact, g.exact)
    return Influence(xp.where(exact, 0.0, variance), tuple(directions), missing)


def _tokens_of(
    key_times: Array, query_times: Array, visible: Array, *, xp: Namespace
) -> tuple[Array, tuple[Array, Array]]:
    """Return times of keys and then queries, which of them are real, and which are measured."""
    shapes = {"keys": key_times.shape[:-1], "queries": query_times.shape[:-1]}
    leading = broadcast_shape(shapes | {"visible": visible.shape[:-1]})

    def joined(of_keys: Array, of_queries: Array) -> Array:
        both = (xp.broadcast_to(x, (*leading, x.shape[-1])) for x in (of_keys, of_queries))
        return xp.concat(list(both), axis=-1)

    there = xp.ones_like(query_times, dtype=xp.bool)
    times = joined(xp.where(visible, key_times, 0.0), query_times)
    return times, (joined(visible, there), joined(visible, xp.logical_not(there)))


class Side(NamedTuple):
    """What the filter over the keys on one side knows of the queries, (..., n, d)."""

    precision: Array  # ℓ, that of the prior if there is no key
    share: Array  # s, of the prior in the filter's estimate
    log_kept: Terms  # of C
    exact: Array  # whether the query is at a key without noise


def _side(rows: FilterGains, query_times: Array, model: Dynamics, *, xp: Namespace) -> Side:
    """Predict queries from what the filter holds at each of them."""
    lag = xp.where(rows.seen, abs(query_times[..., None] - rows.time), 0.0)
    variance = model.variance_after(rows.gain, lag, xp=xp)
    floor = xp.finfo(variance.dtype).smallest_normal ** 0.5
    precision = 1.0 / xp.where(variance > floor, variance, floor)
    start = model.measurement * model.precision
    share = start / (1.0 + start) * xp.exp(reduce(add, rows.log_kept))
    return Side(
        xp.where(rows.seen, precision, model.precision),
        xp.where(rows.seen, share, 1.0),
        rows.log_kept,
        xp.logical_and(rows.seen, variance <= floor),
    )


def _less_gain(keys: FilterGains, *, xp: Namespace) -> Terms:
    """Return the terms of C_j − log K_j."""
    *large, last = keys.log_kept
    return *large, last - _log(keys.gain, xp=xp)


def _log(x: Array, *, xp: Namespace) -> Array:
    """Return log x, −∞ at zero, where its derivative is zero."""
    return xp.where(x > 0.0, xp.log(xp.where(x > 0.0, x, 1.0)), -xp.inf)


def _later_visible(xp: Namespace) -> Combine:
    """Return the operation on (time, visible) that keeps the later one if it is visible."""

    def combine(one: tuple[Array, ...], two: tuple[Array, ...]) -> tuple[Array, ...]:
        (time, seen), (later_time, later_seen) = one, two
        return xp.where(later_seen, later_time, time), xp.logical_or(seen, later_seen)

    return combine


def _before(start: Array, x: Array, *, xp: Namespace) -> Array:
    """Return what stands at the key before, the start at the first."""
    start = xp.broadcast_to(start, (*x.shape[:-2], 1, x.shape[-1]))
    return previous(start, x, axis=TOKENS, xp=xp)


def _last(x: Array, count: int, *, xp: Namespace) -> Array:
    """Return the last tokens; zeros stand before the first."""
    tokens = x.shape[TOKENS]
    if count <= tokens:
        return x[..., tokens - count :, :]
    shape = (*x.shape[:-2], count - tokens, x.shape[-1])
    return xp.concat([xp.zeros(shape, dtype=x.dtype, device=device_of(x)), x], axis=TOKENS)
