"""Gradients of the radial–tangential form in keys, values and their times, on a GPU (spec §6)."""

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl

from afa_torch.triton.covariance import BESIDE, EARLIER, LATER
from afa_torch.triton.gradients import Levels, add_levels, store_levels, store_tokens
from afa_torch.triton.key_gradients import queries_beside, time_gradients, visits_of
from afa_torch.triton.radial_tangential import Components, heads_of, load_both, tiles_of
from afa_torch.triton.radial_tangential_gradients import (
    load_both_outward,
    load_both_rows,
    tile_gradients,
)
from afa_torch.triton.tiles import load_keys, product


class KeyGradients(NamedTuple):
    """Gradients of a block of keys."""

    tokens: Any  # through products
    value: Any
    square: Any
    times: Any
    levels: Components


@triton.jit
def add_queries(
    found, heads, keys, first, n, results, outward, SIDE: tl.constexpr, flags: tl.constexpr
):  # fmt: skip
    """Return gradients of keys with those of a block of queries."""
    queries = load_both(heads, first, n, flags)
    rows = load_both_rows(results, outward, heads.radial, queries.radial, n)
    out = load_both_outward(outward, heads.radial, queries.radial, n, flags)
    tiles = tiles_of(heads, queries, keys, n, SIDE, flags)
    by = tile_gradients(heads, tiles, out, rows, SIDE, flags)
    own, times = by.of_weights, found.times
    if not flags.regular:
        times += time_gradients(
            heads.radial.model, tiles.radial, own.sigma.radial, by.log_decay.radial, flags
        )
        times += time_gradients(
            heads.tangential.model, tiles.tangential, own.sigma.tangential,
            by.log_decay.tangential, flags,
        )  # fmt: skip
    along, across = queries.radial.tokens, queries.tangential.tokens
    tokens = product(by.products.radial.to(keys.tokens.dtype), along, found.tokens, flags)
    value = product(by.shown.radial.to(keys.tokens.dtype), out.radial, found.value, flags)
    levels, log_weight = found.levels, own.log_weight
    return KeyGradients(
        product(by.products.tangential.to(keys.tokens.dtype), across, tokens, flags),
        product(by.shown.tangential.to(keys.tokens.dtype), out.tangential, value, flags),
        found.square + tl.sum(by.square, 1),
        times,
        Components(
            add_levels(levels.radial, tiles.radial, log_weight.radial, flags),
            add_levels(levels.tangential, tiles.tangential, log_weight.tangential, flags),
        ),
    )


@triton.jit
def add_all_queries(
    found, heads, keys, first, last, n, results, outward, SIDE: tl.constexpr, flags: tl.constexpr
):  # fmt: skip
    """Return gradients with those of the queries from first up to last."""
    for start in tl.range(first, last, flags.block_q):
        found = add_queries(found, heads, keys, start, n, results, outward, SIDE, flags)
    return found


@triton.jit
def both_key_kernel(q, k, mask, model, n, results, outward, grads, flags: tl.constexpr):
    """Write the gradients in a block of keys."""
    heads = heads_of(q, k, mask, model, n, flags)
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
    found = KeyGradients(tokens, value, none, none, levels)
    found = add_all_queries(found, heads, keys, first, last, n, results, outward, BESIDE, flags)
    found = add_all_queries(found, heads, keys, last, end, n, results, outward, EARLIER, flags)
    if not flags.causal:
        found = add_all_queries(found, heads, keys, begin, first, n, results, outward, LATER, flags)
    at, exists = heads.radial.index * n.keys + keys.columns, keys.exists
    scale = 2.0 * heads.radial.model.scale
    tokens = found.tokens + scale * found.square[:, None] * keys.tokens.to(tl.float32)
    store_tokens(grads.tokens, tokens, at, exists, flags.width, flags.padded)
    store_tokens(grads.value, found.value, at, exists, flags.value_width, flags.value_padded)
    tl.store(grads.times + at, found.times, mask=exists)
    store_levels(grads.level.radial, found.levels.radial, -1.0, at, exists, flags)
    store_levels(grads.level.tangential, found.levels.tangential, -1.0, at, exists, flags)
