"""Gradients of the radial–tangential form in queries and in parameters, on a GPU (spec §6)."""

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl

from afa_torch.triton.covariance import BESIDE, EARLIER, LATER
from afa_torch.triton.gradients import Levels, add_levels, store_levels, store_tokens
from afa_torch.triton.query_gradients import LagSums, add_lags, limits_of, store_lags
from afa_torch.triton.radial_tangential import Components, heads_of, load_both, tiles_of
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
    through_lags: LagSums


class QueryGradients(NamedTuple):
    """Gradients of a block of queries, and its share of those in parameters."""

    tokens: Components  # in u and i u
    length: Any
    of_components: Components
    dof: Any
    inverse_temperature: Any


@triton.jit
def no_component(queries, flags: tl.constexpr):
    """Return the gradients of a component before the first tile."""
    BLOCK_Q: tl.constexpr = flags.block_q
    none = tl.zeros((BLOCK_Q,), tl.float32)
    zero = tl.sum(none, 0)
    return OfComponent(none, Levels(none, none), LagSums(none, zero, zero, zero))


@triton.jit
def add_component(found, model, tile, log_weight, grad_sigma, log_decay, flags: tl.constexpr):
    """Return the gradients of a component with those of a tile."""
    return OfComponent(
        found.noise + tl.sum(grad_sigma, 1),
        add_levels(found.levels, tile, log_weight, flags),
        add_lags(found.through_lags, model, tile, grad_sigma, log_decay, flags),
    )


@triton.jit
def add_keys(
    found, heads, queries, outward, rows, start, n, SIDE: tl.constexpr, flags: tl.constexpr
):  # fmt: skip
    """Return gradients of queries with those of the keys of a tile."""
    keys = load_keys(heads.radial, start, n, SIDE == EARLIER, flags)
    tiles = tiles_of(heads, queries, keys, n, SIDE, flags)
    by = tile_gradients(heads, tiles, outward, rows, SIDE, flags)
    own = by.of_weights
    tokens = Components(
        product(by.products.radial.to(keys.tokens.dtype), keys.tokens, found.tokens.radial, flags),
        product(
            by.products.tangential.to(keys.tokens.dtype),
            keys.tokens,
            found.tokens.tangential,
            flags,
        ),
    )
    before = found.of_components
    radial = add_component(
        before.radial, heads.radial.model, tiles.radial, own.log_weight.radial,
        own.sigma.radial, by.log_decay.radial, flags,
    )  # fmt: skip
    tangential = add_component(
        before.tangential, heads.tangential.model, tiles.tangential, own.log_weight.tangential,
        own.sigma.tangential, by.log_decay.tangential, flags,
    )  # fmt: skip
    return QueryGradients(
        tokens,
        found.length + tl.sum(by.length, 1),
        Components(radial, tangential),
        found.dof + own.dof,
        found.inverse_temperature + own.inverse_temperature,
    )


@triton.jit
def add_all_keys(
    found, heads, queries, outward, rows, first, last, n, SIDE: tl.constexpr, flags: tl.constexpr
):  # fmt: skip
    """Return gradients with those of the keys from first up to last."""
    for start in tl.range(first, last, flags.block_k):
        found = add_keys(found, heads, queries, outward, rows, start, n, SIDE, flags)
    return found


@triton.jit
def store_component(found, head, queries, grads, n, flags: tl.constexpr):
    """Write the gradients of a component; return where the share in others is written."""
    at, inside = head.index * n.queries + queries.rows, queries.inside
    tl.store(grads.noise + at, found.noise, mask=inside)
    store_levels(grads.level, found.levels, 1.0, at, inside, flags)
    return store_lags(found.through_lags, head, grads, at, inside)


@triton.jit
def both_query_kernel(q, k, mask, model, n, results, outward, grads, flags: tl.constexpr):
    """Write the gradients in a block of queries, and its share of those in parameters."""
    heads = heads_of(q, k, mask, model, n, flags)
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
    component = no_component(own, flags)
    zero = tl.sum(length, 0)
    both = Components(component, component)
    found = QueryGradients(Components(none, none), length, both, zero, zero)
    beside = tl.minimum(after, n.keys)
    found = add_all_keys(found, heads, queries, out, rows, before, beside, n, BESIDE, flags)
    found = add_all_keys(found, heads, queries, out, rows, start, before, n, EARLIER, flags)
    if not flags.causal:
        found = add_all_keys(found, heads, queries, out, rows, after, stop, n, LATER, flags)
    at = head.index * n.queries + own.rows
    width: tl.constexpr = flags.width
    store_tokens(grads.radial.tokens, found.tokens.radial, at, own.inside, width, flags.padded)
    store_tokens(
        grads.tangential.tokens, found.tokens.tangential, at, own.inside, width, flags.padded
    )
    tl.store(grads.length + at, found.length, mask=own.inside)
    radial, tangential = found.of_components.radial, found.of_components.tangential
    share = store_component(radial, head, own, grads.radial, n, flags)
    tl.store(share + 3, found.dof)
    tl.store(share + 4, found.inverse_temperature)
    store_component(tangential, heads.tangential, own, grads.tangential, n, flags)
