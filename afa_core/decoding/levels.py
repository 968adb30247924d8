"""Correlated keys of a part, by the levels of the whole sequence, and the prior (spec §14)."""

from __future__ import annotations

from math import prod

from afa_core._array.arrays import Array, Namespace, append_axes, positive_part
from afa_core._checks.problem import Problem
from afa_core.decoding.forms import KeySums
from afa_core.decoding.influence import QueryFilter
from afa_core.decoding.merging import Partial, PartialAttention
from afa_core.model.influence import log_or_lowest
from afa_core.model.sde import RadialTangential
from afa_core.streaming.forward.sums import scaled_log_weight
from afa_core.streaming.influence import StreamedInfluence


def stored(key_level: Array, *, xp: Namespace) -> Array:
    """Return log K_j − C_j as a cache has it, the terms side by side."""
    return -xp.reshape(key_level, (*key_level.shape[:-2], prod(key_level.shape[-2:])))


def key_levels(stored: Array, filters: int, *, xp: Namespace) -> Array:
    """Return the levels (..., m, t, s) of keys that a cache stores, with C beside their terms."""
    terms = stored[..., :-filters]
    return -xp.reshape(terms, (*terms.shape[:-1], terms.shape[-1] // filters, filters))


def filter_of(levels: StreamedInfluence, past: Array | None, *, xp: Namespace) -> QueryFilter:
    """Return what the filter holds at queries, with max(1, Σ_j a_ij) P_i for the variance."""
    variance = levels.variance
    if levels.missing is not None:
        variance = variance * (1.0 + positive_part(-levels.missing, xp=xp))
    terms = (levels.query_level[..., each, :] for each in range(levels.query_level.shape[-2]))
    return QueryFilter(tuple(terms), variance, past)


def on_both_sides(
    sums: KeySums | RadialTangential, levels: StreamedInfluence, problem: Problem, *, xp: Namespace
) -> tuple[KeySums | RadialTangential, KeySums | RadialTangential]:
    """Return sums with max(1, Σ_j a_ij) applied, and those over the prior's mean, (14.4)."""
    assert levels.missing is not None
    log_weight = log_or_lowest(problem.narrow(levels.missing, xp=xp), xp=xp)
    precision = levels.precision(xp.exp(log_weight), problem, xp=xp)
    beta = append_axes(problem.inverse_temperature, 2)
    peak = scaled_log_weight(log_weight, beta, xp=xp)

    def corrected(own: KeySums, which: int) -> KeySums:
        return own._replace(carried=levels.mean(own.carried, which, problem, xp=xp))

    def of_prior(own: KeySums, filters: slice) -> KeySums:
        own_peak, own_precision = peak[..., filters], precision[..., filters]
        return KeySums(own_peak, xp.ones_like(own_peak), xp.zeros_like(own.carried), own_precision)

    if not isinstance(sums, RadialTangential):
        return corrected(sums, 0), of_prior(sums, slice(None))
    return (
        RadialTangential(*(corrected(each, which) for which, each in enumerate(sums))),
        RadialTangential(
            *(of_prior(each, slice(which, which + 1)) for which, each in enumerate(sums))
        ),
    )


def with_prior(state: Partial, prior: Partial) -> Partial:
    """Return a state with that of the prior's mean."""
    if isinstance(state, PartialAttention):
        assert isinstance(prior, PartialAttention)
        return state._replace(prior=prior)
    pairs = zip(state, prior, strict=True)
    return RadialTangential(*(each._replace(prior=own) for each, own in pairs))
