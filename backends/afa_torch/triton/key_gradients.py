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
from afa_torch.triton.query_gradients import LagSums, SideSums, store_lags
from afa_torch.triton.sides import Side, key_ends, key_lags, key_side
from afa_torch.triton.tiles import load_keys, load_queries, product, tile_of


class ThroughKeys(NamedTuple):
    """Where the gradients of blocks of keys are written."""

    tokens: Any  # (g, m, 2d)
    value: Any  # (g, m, 2d_v)
    times: Any  # (g, m)
    level: Any  # (g, m, directions)
    visits: Any  # the first query that visits the block, and the one after the last, (g, blocks, 2)
    model: Any  # in μ, σ², η², (g, blocks, 3)


class KeyGradients(NamedTuple):
    """Gradients of a block of keys."""

    tokens: Any  # through products
    value: Any
    square: Any
    levels: Levels
    lags: LagSums


@triton.jit
def no_gradients(flags: tl.constexpr):
    """Return gradients before the first tile."""
    BLOCK_K: tl.constexpr = flags.block_k
    PADDED: tl.constexpr = flags.padded
    VALUES: tl.constexpr = flags.value_padded
    tokens = tl.zeros((BLOCK_K, PADDED), tl.float32)
    value = tl.zeros((BLOCK_K, VALUES), tl.float32)
    none = tl.zeros((BLOCK_K,), tl.float32)
    return KeyGradients(tokens, value, none, Levels(none, none), LagSums(none, none, none, none))


@triton.jit
def times_beside(found, model, tile, grad_sigma, log_decay, flags: tl.constexpr):
    """Return gradients in times with those of a tile of pairs whose lags are their own."""
    lags = signed_lags(tile.queries, tile.keys, tile.visible, flags)
    measured = tile.decayed * tile.decayed * grad_sigma
    by_log = log_decay + 2.0 * model.measurement * measured
    by_lag = lag_gradients(model, tl.abs(lags), tile.decayed, grad_sigma, by_log).lag
    times = found.times - tl.sum(signed_by_lag(by_lag, lags), 1)
    return LagSums(times, found.decay, found.process, found.measurement)


@triton.jit
def add_side(sums, tile, grad_sigma, log_decay, flags: tl.constexpr):
    """Return gradients of keys as seen from one side with those of a tile."""
    e, s = tile.factors.queries.decayed, tile.factors.decayed
    grad_g = s * s * tl.sum(grad_sigma * of_queries(e * e, flags), 1)
    return SideSums(sums.log + tl.sum(log_decay, 1), sums.sigma + grad_g)


@triton.jit
def add_lags(
    found, sums, model, tile, grad_sigma, log_decay, SIDE: tl.constexpr, flags: tl.constexpr
):  # fmt: skip
    """Return gradients with those of a tile through its lags, but for parameters of pairs."""
    if flags.regular:
        if SIDE != BESIDE:
            sums = add_side(sums, tile, grad_sigma, log_decay, flags)
    elif SIDE == BESIDE:
        found = times_beside(found, model, tile, grad_sigma, log_decay, flags)
    elif tile.order == SIDE:
        sums = add_side(sums, tile, grad_sigma, log_decay, flags)
    else:
        found = times_beside(found, model, tile, grad_sigma, log_decay, flags)
    return found, sums


@triton.jit
def with_side(found, sums, model, keys, ends, SIDE: tl.constexpr):
    """Return gradients with those of all tiles on one side, through lags within the block."""
    if SIDE != BESIDE:
        lags = key_lags(keys, ends, SIDE)
        decayed = tl.exp(-model.decay * lags)
        measured = decayed * decayed * sums.sigma
        by_log = sums.log + 2.0 * model.measurement * measured
        by = lag_gradients(model, lags, decayed, sums.sigma, by_log)
        times = -by.lag if SIDE == EARLIER else by.lag
        found = LagSums(
            found.times + times,
            found.decay + by.decay,
            found.process + by.process,
            found.measurement + measured,
        )
    return found


@triton.jit
def side_of(head, keys, ends, SIDE: tl.constexpr, flags: tl.constexpr):
    """Return keys as seen by queries, if they are on one side."""
    side = Side(keys.square, keys.square, keys.square)
    if SIDE != BESIDE:
        side = key_side(head, keys, ends, SIDE, flags)
    return side


@triton.jit
def add_tile(
    found, sums, head, keys, ends, side, first, n, results, outward,
    SIDE: tl.constexpr, flags: tl.constexpr,
):  # fmt: skip
    """Return gradients with those of a block of queries."""
    queries = load_queries(head, first, n, flags)
    rows = load_rows(results, outward, head, queries, n)
    out = load_outward(outward, head, queries, n, flags)
    tile = tile_of(head, queries, keys, ends, side, n, SIDE, flags)
    by = tile_gradients(head, tile, out, rows, SIDE, flags)
    own = by.of_weights
    shown, by_product = by.shown.to(out.dtype), by.product.to(queries.tokens.dtype)
    lags, sums = add_lags(found.lags, sums, head.model, tile, own.sigma, by.log_decay, SIDE, flags)
    total = KeyGradients(
        product(by_product, queries.tokens, found.tokens, flags),
        product(shown, out, found.value, flags),
        found.square + tl.sum(tile.decayed * tile.decayed * own.squared, 1),
        add_levels(found.levels, tile, own.log_weight, SIDE, flags),
        lags,
    )
    return total, sums


@triton.jit
def add_tiles(
    found, head, keys, ends, first, last, n, results, outward,
    SIDE: tl.constexpr, flags: tl.constexpr,
):  # fmt: skip
    """Return gradients with those of the queries from first up to last."""
    side, none = side_of(head, keys, ends, SIDE, flags), keys.square * 0.0
    sums = SideSums(none, none)
    for start in tl.range(first, last, flags.block_q):
        found, sums = add_tile(
            found, sums, head, keys, ends, side, start, n, results, outward, SIDE, flags
        )
    lags = with_side(found.lags, sums, head.model, keys, ends, SIDE)
    return KeyGradients(found.tokens, found.value, found.square, found.levels, lags)


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
    share = grads.model + (head.index * head.blocks + head.block) * 3
    store_lags(found.lags, grads.times + at, share, exists)
    store_levels(grads.level, found.levels, -1.0, at, exists, flags)


@triton.jit
def key_kernel(q, k, mask, model, n, across, results, outward, grads, flags: tl.constexpr):
    """Write the gradients in a block of keys, and its share of those in parameters."""
    head = head_of(q, k, mask, across, model, n, flags)
    if (head.model.powers > 0.0) != (flags.power >= 0):
        return
    start = head.block * flags.block_k
    keys = load_keys(head, start, n, False, flags)
    first, last = queries_beside(start, n, flags)
    begin, end = visits_of(grads, head, first, last, n, flags)
    ends = key_ends(head, keys, flags)
    found = no_gradients(flags)
    found = add_tiles(found, head, keys, ends, first, last, n, results, outward, BESIDE, flags)
    found = add_tiles(found, head, keys, ends, last, end, n, results, outward, EARLIER, flags)
    if not flags.causal:
        found = add_tiles(found, head, keys, ends, begin, first, n, results, outward, LATER, flags)
    store_gradients(found, head, keys, grads, n, flags)
