"""The influence of cached keys whose errors are correlated (spec §14).

The cache keeps log K_j − C_j and C_j of each token, and what the filter holds at the latest one,
from which later tokens continue it. Arrays have an axis of filters: one for each mode of
`DiagonalSDE`, a radial and a tangential one for `RadialTangentialSDE`, and otherwise a single one.
"""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import NamedTuple

from afa_core._array.arrays import Array, DType, Namespace
from afa_core.model.gains import (
    Dynamics,
    FilterGains,
    filter_gains,
    key_terms,
    no_keys,
    variance_at,
)
from afa_core.model.sde import SDE, RadialTangentialSDE
from afa_core.reference.prior import diffuse_dynamics, precision_over
from afa_core.streaming.operands import components_of


class QueryFilter(NamedTuple):
    """What the filter holds at queries, of the keys that each of them sees."""

    log_kept: tuple[Array, ...]  # terms of C_i, (..., n, s)
    variance: Array  # P_i, (..., n, s)
    past: Array | None = None  # (..., n, m), where later keys have influence by other terms


class FilteredTokens(NamedTuple):
    """New tokens over which the filter has been continued."""

    stored: Array  # the terms of log K_j − C_j, and C_j, side by side, (..., c, s (terms + 1))
    queries: QueryFilter  # at the tokens as queries
    state: FilterGains  # at the last of them, (..., 1, s)


class Influence(NamedTuple):
    """The influence of keys on the exact estimate of each query."""

    log_weight: Array  # log a_ij, (..., n, m, s)
    variance: Array  # P_i, (..., n, s)

    def of_filter(self, number: int) -> Influence:
        """Return log a_ij, (..., n, m), and P_i, (..., n, 1), of one of the filters."""
        return Influence(self.log_weight[..., number], self.variance[..., number, None])

    def precision(self, weight: Array, *, xp: Namespace) -> Array:
        """Return Σ_j a_ij w_ij / P_i."""
        return precision_over(self.variance, weight, xp=xp)


def initial_state(
    times: Array, visible: Array | None, sde: SDE, modes: int, *, xp: Namespace
) -> FilterGains:
    """Return what the filter holds before any token, for tokens at times (..., c, 1)."""
    shown = None if visible is None else visible[..., 0]
    times = times[..., 0]
    state = no_keys(times, shown, dynamics(sde, times, xp=xp), xp=xp)

    def filters(x: Array) -> Array:
        return xp.broadcast_to(x, (*x.shape[:-1], components_of(type(sde), modes)))

    return state._replace(gain=filters(state.gain), log_kept=tuple(map(filters, state.log_kept)))


def check_filters(state: FilterGains, sde: SDE, modes: int) -> None:
    """Check that a model has as many filters as there are in a cache."""
    cached, filters = state.gain.shape[-1], components_of(type(sde), modes)
    if filters != cached:
        msg = (
            f"`sde` must be the one of `cache`, with {cached} filters, got "
            f"{type(sde).__name__} with {filters}. Pass the same model to every step."
        )
        raise ValueError(msg)


def filter_tokens(
    state: FilterGains, times: Array, visible: Array | None, sde: SDE, *, xp: Namespace
) -> FilteredTokens:
    """Continue the filter over new tokens at times (..., c, 1)."""
    times = times[..., 0]
    model = dynamics(sde, times, xp=xp)
    shown = None if visible is None else visible[..., 0]
    gains = filter_gains(times, shown, model, before=state, xp=xp)
    negated = (-x for x in key_terms(gains, xp=xp))
    stored = xp.concat([*negated, reduce(add, gains.log_kept)], axis=-1)
    queries = QueryFilter(gains.log_kept, variance_at(gains, times, model, xp=xp))
    return FilteredTokens(stored, queries, gains.map(lambda x: x[..., -1:, :]))


def influence_on(queries: QueryFilter, stored: Array, dtype: DType, *, xp: Namespace) -> Influence:
    """Return the influence of stored tokens on queries, (14.1), in a dtype."""
    filters = queries.variance.shape[-1]
    terms = [
        row[..., :, None, :] + stored[..., None, :, place * filters : (place + 1) * filters]
        for place, row in enumerate(queries.log_kept)
    ]
    if queries.past is None:
        log_weight = reduce(add, terms)
    else:
        sides = terms[: len(terms) // 2], terms[len(terms) // 2 :]
        log_weight = xp.where(queries.past[..., None], *(reduce(add, each) for each in sides))
    return Influence(*(xp.astype(x, dtype, copy=False) for x in (log_weight, queries.variance)))


def dynamics(sde: SDE, times: Array, *, xp: Namespace) -> Dynamics:
    """Return the models of the filters, (..., 1, s or 1), in the dtype of times (..., m)."""
    if not isinstance(sde, RadialTangentialSDE):
        return diffuse_dynamics(sde, sde.noise, times, xp=xp)
    radial, tangential = (
        diffuse_dynamics(sde, noise, times, xp=xp)
        for noise in (sde.radial_noise, sde.tangential_noise)
    )
    pairs = zip(radial[:3], tangential[:3], strict=True)
    return Dynamics(*(xp.concat(xp.broadcast_arrays(*pair), axis=-1) for pair in pairs))
