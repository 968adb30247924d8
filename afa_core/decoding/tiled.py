"""Steps of many tokens, in tiles: the pairs of a piece are not materialised (spec §9).

Tokens of a cache are rotated to its reference time, so that nothing is left for tiles to rotate.
"""

from __future__ import annotations

from typing import Any

from afa_core._array.arrays import Array, Namespace
from afa_core._array.masks import Visibility
from afa_core._array.pairs import Layout, Pair
from afa_core._checks.problem import Packed, Problem
from afa_core.decoding.cache import DecodeCache
from afa_core.decoding.early_exit import may_exit
from afa_core.decoding.execution import storage_of
from afa_core.decoding.forms import ModelSpec, Queries
from afa_core.decoding.key_sets import KeySet, cached_keys
from afa_core.decoding.levels import key_levels
from afa_core.decoding.output import OutputSpec
from afa_core.decoding.phases import unrotate
from afa_core.implementations import choose, engine_of
from afa_core.model.estimates import Estimate
from afa_core.streaming.attention import stream
from afa_core.streaming.influence import StreamedInfluence

MIN_TOKENS = 32
"""New tokens from which on tiles are considered: fewer cost less than tiles have to prepare."""
MIN_TOKENS_OF_EXIT = 64
"""The same where steps may exit early, which do not read all of the cache as tiles do."""


def estimate_in_tiles(
    queries: Queries,
    cache: DecodeCache,
    spec: ModelSpec,
    output: OutputSpec,
    leading: tuple[int, ...],
    tolerance: float,
    *,
    xp: Namespace,
) -> Estimate | None:
    """Return the estimates at the last tokens of a cache, which holds their keys too.

    None where all pairs are better evaluated at once, or have to be: where the library has no
    tiles for steps, or derivatives may be taken that tiles lack.
    """
    if not storage_of(xp).tiles():
        return None
    exits = may_exit(cache.used, cache.finite, tolerance)
    if queries.query.shape[-2] < (MIN_TOKENS_OF_EXIT if exits else MIN_TOKENS):
        return None
    keys = cached_keys(cache, queries.query.dtype, queries.query.ndim, xp=xp)
    problem = _problem(queries, keys, spec, output, leading, tolerance, xp=xp)
    engine = engine_of(choose("auto", problem, xp).name, xp)
    if engine is None or (engine.derivatives and spec.requires_grad):
        return None
    engine, influence = engine._replace(rotate=_as_it_is), _influence(queries, keys, xp=xp)
    mean, precision = stream(
        problem, engine, None, influence=influence, return_precision=True, xp=xp
    )
    return Estimate(output.at_queries(mean, xp=xp), precision)


def _problem(
    queries: Queries,
    keys: KeySet,
    spec: ModelSpec,
    output: OutputSpec,
    leading: tuple[int, ...],
    tolerance: float,
    *,
    xp: Namespace,
) -> Problem:
    """Return the problem of queries that are the last tokens, at times since the reference time."""
    query, tokens, visible = queries.query, keys.tokens, keys.visibility.visible
    anchor = None
    if output.anchor is not None:
        anchor = unrotate(output.anchor, output.phases, xp=xp)
    zero: Any = {name: 0.0 for name in spec.sde._fields if name.endswith("frequency")}
    return Problem(
        packed=Packed(query, tokens.key, tokens.value, anchor),
        order="halves",
        query_times=queries.times[..., 0],
        key_times=tokens.times[..., 0],
        regular=False,
        visibility=Visibility(query.shape[-2], tokens.key.shape[-2], causal=True, mask=visible),
        leading=leading,
        sde=spec.sde._replace(**zero),
        weighting=spec.weight.weighting,
        inverse_temperature=spec.weight.inverse_temperature,
        correlated=queries.filter is not None,
        query_variance=queries.variance,
        tolerance=0.0 if queries.filter is None else tolerance,
        dtype=query.dtype,
        token_dtype=query.dtype,
    )


def _influence(queries: Queries, keys: KeySet, *, xp: Namespace) -> StreamedInfluence | None:
    """Return the levels of queries and of all keys, None if keys are independent."""
    if queries.filter is None:
        return None
    assert keys.tokens.influence is not None
    log_kept, variance = queries.filter[:2]
    return StreamedInfluence(
        xp.stack(log_kept, axis=-2),
        key_levels(keys.tokens.influence, variance.shape[-1], xp=xp),
        variance,
        None,
    )


def _as_it_is(
    packed: Array, by: Pair, source: Layout, target: Layout, /, *, xp: Namespace
) -> Array:
    """Return tokens and estimates without a rotation."""
    return packed
