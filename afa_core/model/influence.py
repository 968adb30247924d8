"""The influence of keys whose errors are correlated: the weights of the exact filter (spec §14).

Two keys predict a query with errors that share the process noise since the later of them. Least
squares over such predictions is the Kalman filter, whose estimate is a weighted sum of the carried
keys, with weights that factor into a number of the key and one of the query:

    a_ij = K_j e^{C_i − C_j},  C_j = Σ_{l≤j} log(1 − K_l),  Σ_j a_ij = 1.        (14.1)
"""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import NamedTuple

from afa_core._array.arrays import Array, Namespace, broadcast_shape, device_of
from afa_core._array.sorting import Order
from afa_core.model.gains import (
    TOKENS,
    Dynamics,
    FilterGains,
    Terms,
    filter_gains,
    key_terms,
    variance_at,
)


class Timeline(NamedTuple):
    """Keys and queries without their contents: what influence depends on beside the model."""

    query_times: Array  # (..., n), in the widest dtype
    key_times: Array  # (..., m); those of hidden keys are not read
    visible: Array | None  # which keys are measured, (..., m), None if all
    causal: bool  # whether queries, the last n of the m tokens, see the keys up to their own
    regular: bool  # whether times are the places in the sequence, and no key is hidden


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


def filtered(keys: FilterGains, query_times: Array, model: Dynamics, *, xp: Namespace) -> Influence:
    """Return the influence of keys on queries that see them as a causal sequence, (14.1).

    The queries, at times (..., n), are the last n of the m tokens.
    """
    rows = keys.map(lambda x: _last(x, query_times.shape[-1], xp=xp))
    variance = variance_at(rows, query_times, model, xp=xp)
    return Influence(variance, (Direction(rows.log_kept, key_terms(keys, xp=xp)),))


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
    times, measured = _tokens_of(key_times, query_times, visible, xp=xp)
    order = Order(times, xp=xp)
    times, shown = (order.sort(x[..., None])[..., 0] for x in (times, measured))
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
    # without a key on one side that of the other alone: J would cancel, in derivatives too
    missing = variance * xp.where(f.seen, f.of_prior + g.excess, g.of_prior)
    exact = xp.logical_or(f.exact, g.exact)
    missing = xp.where(exact, 0.0, missing)
    directions = []
    for side, keys in ((f, ahead), (g, behind)):
        *large, last = side.log_kept
        counts = xp.logical_or(side.exact, xp.logical_not(exact))
        share = xp.where(counts, side.precision * variance, 0.0)
        query = *large, last + log_or_lowest(share, xp=xp)
        first, *rest = key_terms(keys.map(lambda x: x[..., :count, :]), xp=xp)
        # a hidden key was sorted at a time that is not its own
        key = xp.where(visible[..., None], first, xp.inf), *rest
        directions.append(Direction(query, key))
    return Influence(xp.where(exact, 0.0, variance), tuple(directions), missing)


def _tokens_of(
    key_times: Array, query_times: Array, visible: Array, *, xp: Namespace
) -> tuple[Array, Array]:
    """Return times of keys and then queries, and which are measured: visible keys alone are."""
    shapes = {"keys": key_times.shape[:-1], "queries": query_times.shape[:-1]}
    leading = broadcast_shape(shapes | {"visible": visible.shape[:-1]})

    def joined(of_keys: Array, of_queries: Array) -> Array:
        both = (xp.broadcast_to(x, (*leading, x.shape[-1])) for x in (of_keys, of_queries))
        return xp.concat(list(both), axis=-1)

    times = joined(xp.where(visible, key_times, 0.0), query_times)
    return times, joined(visible, xp.zeros_like(query_times, dtype=xp.bool))


class Side(NamedTuple):
    """What the filter over the keys on one side knows of the queries, (..., n, d)."""

    precision: Array  # ℓ, that of the prior if there is no key
    of_prior: Array  # ℓs, where s is the share of the prior in the filter's estimate
    excess: Array  # ℓs − J, zero if there is no key
    log_kept: Terms  # of C
    exact: Array  # whether the query is at a key without noise
    seen: Array  # whether there is a key


def _side(rows: FilterGains, query_times: Array, model: Dynamics, *, xp: Namespace) -> Side:
    """Predict queries from what the filter holds at each of them."""
    variance = variance_at(rows, query_times, model, xp=xp)
    floor = xp.finfo(variance.dtype).smallest_normal ** 0.5
    precision = 1.0 / xp.where(variance > floor, variance, floor)
    start = model.measurement * model.precision
    share = start / (1.0 + start) * xp.exp(reduce(add, rows.log_kept))
    of_prior = xp.where(rows.seen, precision * share, model.precision)
    return Side(
        xp.where(rows.seen, precision, model.precision),
        of_prior,
        xp.where(rows.seen, of_prior - model.precision, 0.0),
        rows.log_kept,
        xp.logical_and(rows.seen, variance <= floor),
        rows.seen,
    )


def log_or_lowest(x: Array, *, xp: Namespace) -> Array:
    """Return log x, −∞ at zero, where its derivative is zero."""
    return xp.where(x <= 0.0, -xp.inf, xp.log(xp.where(x <= 0.0, 1.0, x)))


def _last(x: Array, count: int, *, xp: Namespace) -> Array:
    """Return the last tokens; zeros stand before the first."""
    tokens = x.shape[TOKENS]
    if count <= tokens:
        return x[..., tokens - count :, :]
    shape = (*x.shape[:-2], count - tokens, x.shape[-1])
    return xp.concat([xp.zeros(shape, dtype=x.dtype, device=device_of(x)), x], axis=TOKENS)
