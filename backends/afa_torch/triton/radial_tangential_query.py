"""Gradients of the radial–tangential form in queries and in parameters, on a GPU (spec §6)."""

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl

from afa_torch.triton.covariance import BESIDE, EARLIER, LATER
from afa_torch.triton.gradients import Levels, add_levels, store_levels, store_tokens
from afa_torch.triton.query_gradients import (
    LagSums,
    SideSums,
    add_lags,
    limits_of,
    store_lags,
    with_side,
)
from afa_torch.triton.radial_tangential import Components, heads_of, load_both, tiles_of
from afa_torch.triton.radial_tangential_forward import ends_of_both, sides_of
from afa_torch.triton.radial_tangential_gradients import (
    load_both_outward,
    load_both_rows,
    tile_gradients,
)
from afa_torch.triton.tiles import load_keys, places, product


class OfComponent(NamedTuple):
    """Gradients of a block of queries through the noise and influence of a component."""

    noise: Any
    levels: Levels
    lags: LagSums


class QueryGradients(NamedTuple):
    """Gradients of a block of queries, and its share of those in parameters."""

    tokens: Components  # in u and i u
    length: Any
    of_components: Components
    dof: Any
    inverse_temperature: Any


@triton.jit
def no_component(flags: tl.constexpr):
    """Return the gradients of a component before the first tile."""
    BLOCK_Q: tl.constexpr = flags.block_q
    none = tl.zeros((BLOCK_Q,), tl.float32)
    return OfComponent(none, Levels(none, none), LagSums(none, none, none, none))


@triton.jit
def add_component(
    found, sums, model, tile, log_weight, grad_sigma, log_decay,
    SIDE: tl.constexpr, flags: tl.constexpr,
):  # fmt: skip
    """Return the gradients of a component with those of a tile."""
    lags, sums = add_lags(found.lags, sums, model, tile, grad_sigma, log_decay, SIDE, flags)
    total = OfComponent(
        found.noise + tl.sum(grad_sigma, 1),
        add_levels(found.levels, tile, log_weight, SIDE, flags),
        lags,
    )
    return total, sums


@triton.jit
def add_keys(
    found, sums, heads, queries, ends, sides, outward, rows, start, n,
    SIDE: tl.constexpr, flags: tl.constexpr,
):  # fmt: skip
    """Return gradients of queries with those of the keys of a tile."""
    keys = load_keys(heads.radial, start, n, SIDE == EARLIER, flags)
    tiles = tiles_of(heads, queries, keys, ends, sides, n, SIDE, flags)
    by = tile_gradients(heads, tiles, outward, rows, SIDE, flags)
    own = by.of_weights
    along = by.products.radial.to(keys.tokens.dtype)
    across = by.products.tangential.to(keys.tokens.dtype)
    tokens = Components(
        product(along, keys.tokens, found.tokens.radial, flags),
        product(across, keys.tokens, found.tokens.tangential, flags),
    )
    before = found.of_components
    radial, radial_sums = add_component(
        before.radial, sums.radial, heads.radial.model, tiles.radial, own.log_weight.radial,
        own.sigma.radial, by.log_decay.radial, SIDE, flags,
    )  # fmt: skip
    tangential, other_sums = add_component(
        before.tangential, sums.tangential, heads.tangential.model, tiles.tangential,
        own.log_weight.tangential, own.sigma.tangential, by.log_decay.tangential, SIDE, flags,
    )  # fmt: skip
    total = QueryGradients(
        tokens,
        found.length + tl.sum(by.length, 1),
        Components(radial, tangential),
        found.dof + own.dof,
        found.inverse_temperature + own.inverse_temperature,
    )
    return total, Components(radial_sums, other_sums)


@triton.jit
def component_with_side(found, sums, head, queries, ends, SIDE: tl.constexpr):
    """Return the gradients of a component with those of all tiles on one side."""
    lags = with_side(found.lags, sums, head.model, queries, ends, SIDE)
    return OfComponent(found.noise, found.levels, lags)


@triton.jit
def add_all_keys(
    found, heads, queries, ends, outward, rows, first, last, n,
    SIDE: tl.constexpr, flags: tl.constexpr,
):  # fmt: skip
    """Return gradients with those of the keys from first up to last."""
    own, none = queries.radial, queries.radial.noise * 0.0
    sides = sides_of(heads, queries, ends, SIDE, flags)
    sums = Components(SideSums(none, none), SideSums(none, none))
    for start in tl.range(first, last, flags.block_k):
        found, sums = add_keys(
            found, sums, heads, queries, ends, sides, outward, rows, start, n, SIDE, flags
        )
    both = found.of_components
    radial = component_with_side(both.radial, sums.radial, heads.radial, own, ends.radial, SIDE)
    tangential = component_with_side(
        both.tangential, sums.tangential, heads.tangential, own, ends.tangential, SIDE
    )
    both = Components(radial, tangential)
    return QueryGradients(found.tokens, found.length, both, found.dof, found.inverse_temperature)


@triton.jit
def store_component(found, head, queries, grads, n, flags: tl.constexpr):
    """Write the gradients of a component; return where the share in others is written."""
    at, inside = head.index * n.queries + queries.rows, queries.inside
    tl.store(grads.noise + at, found.noise, mask=inside)
    store_levels(grads.level, found.levels, 1.0, at, inside, flags)
    share = grads.model + (head.index * head.blocks + head.block) * 5
    store_lags(found.lags, grads.times + at, share, inside)
    return share


@triton.jit
def both_query_kernel(q, k, mask, model, n, across, results, outward, grads, flags: tl.constexpr):
    """Write the gradients in a block of queries, and its share of those in parameters."""
    heads = heads_of(q, k, mask, across, model, n, flags)
    if (heads.radial.model.powers > 0.0) != (flags.power >= 0):
        return
    first = (heads.radial.blocks - 1 - heads.radial.block) * flags.block_q  # the most keys first
    queries = load_both(heads, first, n, flags)
    own, head = queries.radial, heads.radial
    rows = load_both_rows(results, outward, head, own, n)
    out = load_both_outward(outward, head, own, n, flags)
    before, after = places(first, n, flags)
    start, stop = limits_of(results.radial, head, own, before, after, n, flags)
    PADDED: tl.constexpr = flags.padded
    BLOCK_Q: tl.constexpr = flags.block_q
    none = tl.zeros((BLOCK_Q, PADDED), tl.float32)
    length = tl.zeros((BLOCK_Q,), tl.float32)
    component = no_component(flags)
    both = Components(component, component)
    found = QueryGradients(Components(none, none), length, both, length, length)
    ends, beside = ends_of_both(heads, queries, flags), tl.minimum(after, n.keys)
    found = add_all_keys(found, heads, queries, ends, out, rows, before, beside, n, BESIDE, flags)
    found = add_all_keys(found, heads, queries, ends, out, rows, start, before, n, EARLIER, flags)
    if not flags.causal:
        found = add_all_keys(found, heads, queries, ends, out, rows, after, stop, n, LATER, flags)
    at = head.index * n.queries + own.rows
    width: tl.constexpr = flags.width
    store_tokens(grads.radial.tokens, found.tokens.radial, at, own.inside, width, flags.padded)
    store_tokens(
        grads.tangential.tokens, found.tokens.tangential, at, own.inside, width, flags.padded
    )
    tl.store(grads.length + at, found.length, mask=own.inside)
    radial, tangential = found.of_components.radial, found.of_components.tangential
    share = store_component(radial, head, own, grads.radial, n, flags)
    tl.store(share + 3, tl.sum(found.dof, 0))
    tl.store(share + 4, tl.sum(found.inverse_temperature, 0))
    store_component(tangential, heads.tangential, own, grads.tangential, n, flags)
