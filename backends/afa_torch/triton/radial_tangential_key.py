"""Gradients of the radial–tangential form in keys, values and their times, on a GPU (spec §6)."""

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl

from afa_torch.triton.covariance import BESIDE, EARLIER, LATER
from afa_torch.triton.gradients import Levels, add_levels, store_levels, store_tokens
from afa_torch.triton.key_gradients import (
    add_lags,
    queries_beside,
    side_of,
    visits_of,
    with_side,
)
from afa_torch.triton.query_gradients import LagSums, SideSums, store_lags
from afa_torch.triton.radial_tangential import Components, heads_of, load_both, tiles_of
from afa_torch.triton.radial_tangential_gradients import (
    load_both_outward,
    load_both_rows,
    tile_gradients,
)
from afa_torch.triton.sides import key_ends
from afa_torch.triton.tiles import load_keys, product


class KeyGradients(NamedTuple):
    """Gradients of a block of keys."""

    tokens: Any  # through products
    value: Any
    square: Any
    levels: Components
    lags: Components


@triton.jit
def add_queries(
    found, sums, heads, keys, ends, sides, first, n, results, outward,
    SIDE: tl.constexpr, flags: tl.constexpr,
):  # fmt: skip
    """Return gradients of keys with those of a block of queries."""
    queries = load_both(heads, first, n, flags)
    rows = load_both_rows(results, outward, heads.radial, queries.radial, n)
    out = load_both_outward(outward, heads.radial, queries.radial, n, flags)
    tiles = tiles_of(heads, queries, keys, ends, sides, n, SIDE, flags)
    by = tile_gradients(heads, tiles, out, rows, SIDE, flags)
    own, before = by.of_weights, found.lags
    radial, radial_sums = add_lags(
        before.radial, sums.radial, heads.radial.model, tiles.radial, own.sigma.radial,
        by.log_decay.radial, SIDE, flags,
    )  # fmt: skip
    tangential, other_sums = add_lags(
        before.tangential, sums.tangential, heads.tangential.model, tiles.tangential,
        own.sigma.tangential, by.log_decay.tangential, SIDE, flags,
    )  # fmt: skip
    along, across = queries.radial.tokens, queries.tangential.tokens
    tokens = product(by.products.radial.to(keys.tokens.dtype), along, found.tokens, flags)
    value = product(by.shown.radial.to(keys.tokens.dtype), out.radial, found.value, flags)
    levels, log_weight = found.levels, own.log_weight
    total = KeyGradients(
        product(by.products.tangential.to(keys.tokens.dtype), across, tokens, flags),
        product(by.shown.tangential.to(keys.tokens.dtype), out.tangential, value, flags),
        found.square + tl.sum(by.square, 1),
        Components(
            add_levels(levels.radial, tiles.radial, log_weight.radial, SIDE, flags),
            add_levels(levels.tangential, tiles.tangential, log_weight.tangential, SIDE, flags),
        ),
        Components(radial, tangential),
    )
    return total, Components(radial_sums, other_sums)


@triton.jit
def add_all_queries(
    found, heads, keys, ends, first, last, n, results, outward,
    SIDE: tl.constexpr, flags: tl.constexpr,
):  # fmt: skip
    """Return gradients with those of the queries from first up to last."""
    sides = Components(
        side_of(heads.radial, keys, ends.radial, SIDE, flags),
        side_of(heads.tangential, keys, ends.tangential, SIDE, flags),
    )
    none = keys.square * 0.0
    sums = Components(SideSums(none, none), SideSums(none, none))
    for start in tl.range(first, last, flags.block_q):
        found, sums = add_queries(
            found, sums, heads, keys, ends, sides, start, n, results, outward, SIDE, flags
        )
    lags, radial, other = found.lags, heads.radial.model, heads.tangential.model
    lags = Components(
        with_side(lags.radial, sums.radial, radial, keys, ends.radial, SIDE),
        with_side(lags.tangential, sums.tangential, other, keys, ends.tangential, SIDE),
    )
    return KeyGradients(found.tokens, found.value, found.square, found.levels, lags)


@triton.jit
def both_key_kernel(q, k, mask, model, n, across, results, outward, grads, flags: tl.constexpr):
    """Write the gradients in a block of keys, and its share of those in parameters."""
    heads = heads_of(q, k, mask, across, model, n, flags)
    if (heads.radial.model.powers > 0.0) != (flags.power >= 0):
        return
    start = heads.radial.block * flags.block_k
    keys = load_keys(heads.radial, start, n, False, flags)
    first, last = queries_beside(start, n, flags)
    begin, end = visits_of(grads, heads.radial, first, last, n, flags)
    BLOCK_K: tl.constexpr = flags.block_k
    PADDED: tl.constexpr = flags.padded
    VALUES: tl.constexpr = flags.value_padded
    none = tl.zeros((BLOCK_K,), tl.float32)
    tokens = tl.zeros((BLOCK_K, PADDED), tl.float32)
    value = tl.zeros((BLOCK_K, VALUES), tl.float32)
    levels = Components(Levels(none, none), Levels(none, none))
    lags = LagSums(none, none, none, none)
    ends = Components(key_ends(heads.radial, keys, flags), key_ends(heads.tangential, keys, flags))
    out = outward
    found = KeyGradients(tokens, value, none, levels, Components(lags, lags))
    found = add_all_queries(found, heads, keys, ends, first, last, n, results, out, BESIDE, flags)
    found = add_all_queries(found, heads, keys, ends, last, end, n, results, out, EARLIER, flags)
    if not flags.causal:
        found = add_all_queries(
            found, heads, keys, ends, begin, first, n, results, out, LATER, flags
        )
    at, exists = heads.radial.index * n.keys + keys.columns, keys.exists
    scale = 2.0 * heads.radial.model.scale
    tokens = found.tokens + scale * found.square[:, None] * keys.tokens.to(tl.float32)
    store_tokens(grads.tokens, tokens, at, exists, flags.width, flags.padded)
    store_tokens(grads.value, found.value, at, exists, flags.value_width, flags.value_padded)
    head, radial, own = heads.radial, found.lags.radial, found.lags.tangential
    place, share = grads.times + at, (head.index * head.blocks + head.block) * 3
    store_lags(own, place, grads.model.tangential + share, exists)
    store_lags(radial, place, grads.model.radial + share, exists)
    tl.store(place, radial.times + own.times, mask=exists)
    store_levels(grads.level.radial, found.levels.radial, -1.0, at, exists, flags)
    store_levels(grads.level.tangential, found.levels.tangential, -1.0, at, exists, flags)
