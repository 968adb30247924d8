"""The filter over keys whose errors are correlated: its gains, and what it keeps (spec §14).

Arrays of keys have an axis of modes, (..., m, d), of length 1 where modes share their noise; so
have parameters, (..., 1, d).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from afa_core._array.arrays import Array, Namespace, Parameter, broadcast_shape, device_of
from afa_core._array.scan import (
    Elements,
    add_sums,
    fractional,
    fractional_value,
    prefixes,
    previous,
    running_sums,
)
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


def no_keys(times: Array, visible: Array | None, model: Dynamics, *, xp: Namespace) -> FilterGains:
    """Return what the filter holds before the first key, (..., 1, d), for keys like those given."""
    leading = () if visible is None else visible.shape[:-1]
    shape = broadcast_shape({"times": times.shape[:-1], "visible": leading})
    time = xp.zeros((*shape, 1, 1), dtype=times.dtype, device=device_of(times))
    gain = xp.zeros_like(time + model.decay + model.process + model.measurement)
    seen = xp.zeros_like(time, dtype=xp.bool)
    return FilterGains(gain, running_sums(gain, axis=TOKENS, xp=xp), time, seen)


def filter_gains(
    times: Array,
    visible: Array | None,
    model: Dynamics,
    *,
    before: FilterGains | None = None,
    regular: bool = False,
    xp: Namespace,
) -> FilterGains:
    r"""Return the gains of the filter over keys in their order, by an associative scan.

    P⁻_j = E(h_j)²P + V(h_j),  K_j = P⁻_j/(P⁻_j + η²),  P_j = K_jη², where h_j is the time since
    the visible key before, and K = 1/(1 + η²J) at the first. It is carried out on K itself,
    K ↦ b + aK/(1 + cK) with b = V/(η² + V), c = η²E²/(η² + V), a = η²c/(η² + V), all at most 1.

    Parameters
    ----------
    times : array, shape (..., m)
        Those of hidden keys are not read.
    visible : array, shape (..., m), or None
        Which keys are measured, None if all.
    before : FilterGains, or None
        What the filter holds at the key before the first of these, (..., 1, d), if they continue a
        sequence.
    regular : bool
        Whether keys are one apart, all measured and continue nothing, so that one map is repeated.
    """
    start = no_keys(times, visible, model, xp=xp) if before is None else before
    latest = _latest_visible(times, visible, start, xp=xp)
    measured = latest[1] if visible is None else visible[..., None]
    earlier_seen = _before(start.seen, latest[1], xp=xp)
    continued = xp.logical_and(measured, earlier_seen)
    if regular:
        lag = xp.ones_like(times[..., :1, None])
    else:
        since = times[..., None] - _before(start.time, latest[0], xp=xp)
        lag = xp.where(continued, since, 0.0)
    carried = decay_factor(lag, model.decay, xp=xp) ** 2
    driven = propagated_covariance(lag, model.decay, model.process, xp=xp)
    step = slope, constant, resistance = _gain_map(carried, driven, model.measurement, xp=xp)
    first = 1.0 / (1.0 + model.measurement * model.precision) + xp.zeros_like(slope)
    if regular:
        gain = _iterate(step, first, times.shape[-1], xp=xp)
    else:
        maps = (
            xp.where(continued, slope, xp.astype(xp.logical_not(measured), slope.dtype)),
            xp.where(continued, constant, xp.where(measured, first, 0.0)),
            xp.where(continued, resistance, 0.0),
        )
        scanned = prefixes(fractional(xp), maps, axis=TOKENS, xp=xp)
        gain = fractional_value(scanned, start.gain, xp=xp)
    loss = _log_loss(carried, driven, _before(start.gain, gain, xp=xp), model, xp=xp)
    kept = running_sums(xp.where(continued, -loss, 0.0), axis=TOKENS, xp=xp)
    return FilterGains(gain, add_sums(start.log_kept, kept), *latest)


def _gain_map(
    carried: Array, driven: Array, measurement: Parameter, *, xp: Namespace
) -> tuple[Array, Array, Array]:
    """Return a, b, c of K ↦ b + aK/(1 + cK), all zero where V + η² is."""
    total = driven + measurement
    safe = xp.where(total > 0.0, total, 1.0)
    share = xp.where(total > 0.0, measurement / safe, 0.0)
    return carried * share**2, xp.where(total > 0.0, driven / safe, 0.0), carried * share


def _iterate(step: Elements, start: Array, count: int, *, xp: Namespace) -> Array:
    """Return x, f(x), f(f(x)), … of a fractional map, as many as `count`."""
    found = start
    while found.shape[TOKENS] < count:
        found = xp.concat([found, fractional_value(step, found, xp=xp)], axis=TOKENS)
        step = fractional(xp)(step, step)
    return found[..., :count, :]


def _log_loss(
    carried: Array, driven: Array, earlier_gain: Array, model: Dynamics, *, xp: Namespace
) -> Array:
    """Return −log(1 − K) = log(1 + P⁻/η²), bounded where η² = 0."""
    noisy = model.measurement + xp.zeros_like(driven) > 0.0
    ratio = driven / xp.where(noisy, model.measurement, 1.0) + carried * earlier_gain
    loss = xp.where(driven > 0.0, MAX_LOG_LOSS, xp.zeros_like(ratio))
    loss = xp.where(noisy, xp.log1p(ratio), loss)
    return xp.where(loss < MAX_LOG_LOSS, loss, MAX_LOG_LOSS)


def variance_at(rows: FilterGains, query_times: Array, model: Dynamics, *, xp: Namespace) -> Array:
    """Return P_i = E²P + V at queries, from what the filter holds at each; infinite if nothing."""
    lag = xp.where(rows.seen, abs(query_times[..., None] - rows.time), 0.0)
    return xp.where(rows.seen, model.variance_after(rows.gain, lag, xp=xp), xp.inf)


def key_terms(keys: FilterGains, *, xp: Namespace) -> Terms:
    """Return the terms of C_j − log K_j, infinite where K_j is zero."""
    positive = keys.gain > 0.0
    log_gain = xp.log(xp.where(positive, keys.gain, 1.0))
    gains = -log_gain, *map(xp.zeros_like, keys.log_kept[1:])
    first, *rest = add_sums(keys.log_kept, gains)
    return xp.where(positive, first, xp.inf), *rest


def _latest_visible(
    times: Array, visible: Array | None, start: FilterGains, *, xp: Namespace
) -> tuple[Array, Array]:
    """Return the time of the latest visible key at each key, (..., m, 1), and if there is one."""
    if visible is None:
        time = xp.broadcast_to(times[..., None], (*start.time.shape[:-2], times.shape[-1], 1))
        return time, xp.ones_like(time, dtype=xp.bool)
    shape = broadcast_shape({"times": times.shape, "visible": visible.shape})
    tokens = (xp.broadcast_to(x, shape)[..., None] for x in (times, visible))

    def combine(one: tuple[Array, ...], two: tuple[Array, ...]) -> tuple[Array, ...]:
        (time, seen), (later_time, later_seen) = one, two
        return xp.where(later_seen, later_time, time), xp.logical_or(seen, later_seen)

    latest = prefixes(combine, tuple(tokens), axis=TOKENS, xp=xp)
    time, seen = combine((start.time, start.seen), latest)
    return time, seen


def _before(start: Array, x: Array, *, xp: Namespace) -> Array:
    """Return what stands at the key before, the start at the first."""
    start = xp.broadcast_to(start, (*x.shape[:-2], 1, x.shape[-1]))
    return previous(start, x, axis=TOKENS, xp=xp)
