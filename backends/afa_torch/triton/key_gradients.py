"""Gradients in keys, values and their times: a program for each block of keys."""

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl

from afa_torch.triton.arguments import head_of
from afa_torch.triton.covariance import (
    BESIDE,
    EARLIER,
    LATER,
    factors_of,
    lag_gradients,
    of_queries,
    signed_lags,
)
from afa_torch.triton.gradients import (
    Levels,
    add_levels,
    load_outward,
    load_rows,
    signed_by_lag,
    store_levels,
    store_tokens,
    tile_gradients,
)
from afa_torch.triton.tiles import load_keys, load_queries, product, tile_of


class ThroughKeys(NamedTuple):
    """Where the gradients of blocks of keys are written."""

    tokens: Any  # (g, m, 2d)
    value: Any  # (g, m, 2d_v)
    times: Any  # (g, m)
    level: Any  # (g, m, directions)
    visits: Any  # the first query that visits the block, and the one after the last, (g, blocks, 2)


class KeyGradients(NamedTuple):
    """Gradients of a block of keys."""

    tokens: Any  # through products
    value: Any
    square: Any
    times: Any
    levels: Levels


@triton.jit
def no_gradients(flags: tl.constexpr):
    """Return gradients before the first tile."""
    BLOCK_K: tl.constexpr = flags.block_k
    PADDED: tl.constexpr = flags.padded
    VALUES: tl.constexpr = flags.value_padded
    tokens = tl.zeros((BLOCK_K, PADDED), tl.float32)
    value = tl.zeros((BLOCK_K, VALUES), tl.float32)
    none = tl.zeros((BLOCK_K,), tl.float32)
    return KeyGradients(tokens, value, none, none, Levels(none, none))


@triton.jit
def time_gradients(model, tile, grad_sigma, log_decay, flags: tl.constexpr):
    """Return the gradients in the times of keys."""
    if tile.order != BESIDE:
        x = factors_of(model, tile.queries, tile.keys, tile.order)
        grad_g = tl.sum(grad_sigma * of_queries(x.e * x.e, flags), 1)
        by_log = tl.sum(log_decay, 1) + 2.0 * model.measurement * x.f * x.f * grad_g
        by_lag = lag_gradients(model, x.key_lags, x.f, grad_g, by_log).lag
        found = tl.where(tile.order == EARLIER, -by_lag, by_lag)
    else:
        lags = signed_lags(tile.queries, tile.keys, tile.visible, flags)
        measured = tile.decayed * tile.decayed * grad_sigma
        in_pairs = log_decay + 2.0 * model.measurement * measured
        of_pairs = lag_gradients(model, tl.abs(lags), tile.decayed, grad_sigma, in_pairs).lag
        found = -tl.sum(signed_by_lag(of_pairs, lags), 1)
    return found


@triton.jit
def add_tile(
    found, head, keys, first, n, results, outward, SIDE: tl.constexpr, flags: tl.constexpr
):  # fmt: skip
    """Return gradients with those of a block of queries."""
    queries = load_queries(head, first, n, flags)
    rows = load_rows(results, outward, head, queries, n)
    out = load_outward(outward, head, queries, n, flags)
    tile = tile_of(head, queries, keys, n, SIDE, flags)
    by = tile_gradients(head, tile, out, rows, SIDE, flags)
    own, times = by.of_weights, found.times
    shown, by_product = by.shown.to(out.dtype), by.product.to(queries.tokens.dtype)
    if not flags.regular:
        times += time_gradients(head.model, tile, own.sigma, by.log_decay, flags)
    return KeyGradients(
        product(by_product, queries.tokens, found.tokens, flags),
        product(shown, out, found.value, flags),
        found.square + tl.sum(tile.decayed * tile.decayed * own.squared, 1),
        times,
        add_levels(found.levels, tile, own.log_weight, flags),
    )


@triton.jit
def add_tiles(
    found, head, keys, first, last, n, results, outward, SIDE: tl.constexpr, flags: tl.constexpr
):  # fmt: skip
    """Return gradients with those of the queries from first up to last."""
    for start in tl.range(first, last, flags.block_q):
        found = add_tile(found, head, keys, start, n, results, outward, SIDE, flags)
    return found


@triton.jit
def queries_beside(start, n, flags: tl.constexpr):
    """Return the first query of the tiles beside a block of keys, and the one after the last.

    Earlier blocks of queries come before all these keys, later ones after them; see `places`.
    """
    shift, stop = n.keys - n.queries, start + flags.block_k
    first = tl.maximum(start - shift, 0) // flags.block_q * flags.block_q
    last = tl.cdiv(tl.maximum(stop - shift, 0), flags.block_q) * flags.block_q
    return first, tl.where(stop > n.keys, n.queries, tl.minimum(last, n.queries))


@triton.jit
def visits_of(grads, head, first, last, n, flags: tl.constexpr):
    """Return the first query that visits a block of keys, and the one after the last."""
    begin, end = first * 0, last * 0 + n.queries
    if flags.exits:
        at = grads.visits + (head.index * head.blocks + head.block) * 2
        begin = tl.minimum(tl.load(at) // flags.block_q * flags.block_q, first)
        end = tl.load(at + 1)
    return begin, end


@triton.jit
def store_gradients(found, head, keys, grads, n, flags: tl.constexpr):
    """Write the gradients of a block of keys."""
    at, exists = head.index * n.keys + keys.columns, keys.exists
    scale, square = 2.0 * head.model.scale, found.square[:, None]
    tokens = found.tokens + scale * square * keys.tokens.to(tl.float32)
    store_tokens(grads.tokens, tokens, at, exists, flags.width, flags.padded)
    store_tokens(grads.value, found.value, at, exists, flags.value_width, flags.value_padded)
    tl.store(grads.times + at, found.times, mask=exists)
    store_levels(grads.level, found.levels, -1.0, at, exists, flags)


@triton.jit
def key_kernel(q, k, mask, model, n, results, outward, grads, flags: tl.constexpr):
    """Write the gradients in a block of keys."""
    head = head_of(q, k, mask, model, n, flags)
    if (head.model.powers > 0.0) != (flags.power >= 0):
        return
    start = head.block * flags.block_k
    keys = load_keys(head, start, n, False, flags)
    first, last = queries_beside(start, n, flags)
    begin, end = visits_of(grads, head, first, last, n, flags)
    found = no_gradients(flags)
    found = add_tiles(found, head, keys, first, last, n, results, outward, BESIDE, flags)
    found = add_tiles(found, head, keys, last, end, n, results, outward, EARLIER, flags)
    if not flags.causal:
        found = add_tiles(found, head, keys, begin, first, n, results, outward, LATER, flags)
    store_gradients(found, head, keys, grads, n, flags)
