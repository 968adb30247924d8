"""Gradients in queries and in parameters: a program for each block of queries."""

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
    of_keys,
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
    total_of_pairs,
)
from afa_torch.triton.tiles import load_keys, load_queries, places, product, tile_of


class ThroughQueries(NamedTuple):
    """Where the gradients of blocks of queries are written."""

    tokens: Any  # (g, n, 2d)
    times: Any  # (g, n)
    noise: Any  # (g, n)
    level: Any  # (g, n, directions)
    model: Any  # in μ, σ², η², ν_s, β, (g, blocks, 5)


class LagSums(NamedTuple):
    """Gradients through lags: in times, and summed over pairs in parameters."""

    times: Any
    decay: Any
    process: Any
    measurement: Any


class QueryGradients(NamedTuple):
    """Gradients of a block of queries, and its share of those in parameters."""

    tokens: Any  # through products
    square: Any
    noise: Any
    levels: Levels
    through_lags: LagSums
    dof: Any
    inverse_temperature: Any


@triton.jit
def no_gradients(queries, flags: tl.constexpr):
    """Return gradients before the first tile."""
    BLOCK_Q: tl.constexpr = flags.block_q
    PADDED: tl.constexpr = flags.padded
    tokens = tl.zeros((BLOCK_Q, PADDED), tl.float32)
    none = tl.zeros((BLOCK_Q,), tl.float32)
    zero = tl.sum(none, 0)
    lags = LagSums(none, zero, zero, zero)
    return QueryGradients(tokens, none, none, Levels(none, none), lags, zero, zero)


@triton.jit
def add_side(found, model, tile, grad_sigma, log_decay, flags: tl.constexpr):
    """Return gradients with those of a tile on one side, whose lags are of queries and keys."""
    x = factors_of(model, tile.queries, tile.keys, tile.order)
    by_factor = tl.sum(grad_sigma * of_keys(x.g, flags), 1)
    by_log = tl.sum(log_decay, 1) + 2.0 * x.e * x.e * by_factor  # Σ = a + e²g
    by = lag_gradients(model, x.query_lags, x.e, tl.sum(grad_sigma, 1), by_log)
    grad_g = tl.sum(grad_sigma * of_queries(x.e * x.e, flags), 0)
    measured = x.f * x.f * grad_g
    by_log_f = tl.sum(log_decay, 0) + 2.0 * model.measurement * measured
    other = lag_gradients(model, x.key_lags, x.f, grad_g, by_log_f)
    return LagSums(
        found.times + tl.where(tile.order == EARLIER, by.lag, -by.lag),
        found.decay + tl.sum(by.decay, 0) + tl.sum(other.decay, 0),
        found.process + tl.sum(by.process, 0) + tl.sum(other.process, 0),
        found.measurement + tl.sum(measured, 0),
    )


@triton.jit
def add_beside(found, model, tile, grad_sigma, log_decay, flags: tl.constexpr):
    """Return gradients with those of a tile of pairs whose lags are their own."""
    lags = signed_lags(tile.queries, tile.keys, tile.visible, flags)
    measured = tile.decayed * tile.decayed * grad_sigma
    by_log = log_decay + 2.0 * model.measurement * measured
    by = lag_gradients(model, tl.abs(lags), tile.decayed, grad_sigma, by_log)
    return LagSums(
        found.times + tl.sum(signed_by_lag(by.lag, lags), 1),
        found.decay + total_of_pairs(by.decay),
        found.process + total_of_pairs(by.process),
        found.measurement + total_of_pairs(measured),
    )


@triton.jit
def add_lags(found, model, tile, grad_sigma, log_decay, flags: tl.constexpr):
    """Return gradients with those of a tile through its lags."""
    if tile.order != BESIDE:
        sums = add_side(found, model, tile, grad_sigma, log_decay, flags)
    else:
        sums = add_beside(found, model, tile, grad_sigma, log_decay, flags)
    return sums


@triton.jit
def add_tile(
    found, head, queries, outward, rows, start, n, SIDE: tl.constexpr, flags: tl.constexpr
):  # fmt: skip
    """Return gradients with those of the keys of a tile."""
    keys = load_keys(head, start, n, SIDE == EARLIER, flags)
    tile = tile_of(head, queries, keys, n, SIDE, flags)
    by = tile_gradients(head, tile, outward, rows, SIDE, flags)
    own = by.of_weights
    return QueryGradients(
        product(by.product.to(keys.tokens.dtype), keys.tokens, found.tokens, flags),
        found.square + tl.sum(own.squared, 1),
        found.noise + tl.sum(own.sigma, 1),
        add_levels(found.levels, tile, own.log_weight, flags),
        add_lags(found.through_lags, head.model, tile, own.sigma, by.log_decay, flags),
        found.dof + own.dof,
        found.inverse_temperature + own.inverse_temperature,
    )


@triton.jit
def add_tiles(
    found, head, queries, outward, rows, first, last, n, SIDE: tl.constexpr, flags: tl.constexpr
):  # fmt: skip
    """Return gradients with those of the keys from first up to last."""
    for start in tl.range(first, last, flags.block_k):
        found = add_tile(found, head, queries, outward, rows, start, n, SIDE, flags)
    return found


@triton.jit
def limits_of(results, head, queries, before, after, n, flags: tl.constexpr):
    """Return the first key that a block of queries visits, and that after the last."""
    first, last = before * 0, after * 0 + n.keys
    if flags.exits:
        at = (head.index * n.queries + queries.rows) * 2
        starts = tl.load(results.limits + at, mask=queries.inside, other=n.keys)
        stops = tl.load(results.limits + at + 1, mask=queries.inside, other=0)
        first = tl.minimum(tl.min(starts, 0) // flags.block_k * flags.block_k, before)
        last = tl.minimum(tl.cdiv(tl.max(stops, 0), flags.block_k) * flags.block_k, n.keys)
    return first, last


@triton.jit
def store_lags(found, head, grads, at, inside):
    """Write gradients through lags; return where the share of the block in others is written."""
    tl.store(grads.times + at, found.times, mask=inside)
    share = grads.model + (head.index * head.blocks + head.block) * 5
    tl.store(share, found.decay)
    tl.store(share + 1, found.process)
    tl.store(share + 2, found.measurement)
    return share


@triton.jit
def store_gradients(found, head, queries, grads, n, flags: tl.constexpr):
    """Write the gradients of a block of queries."""
    at, inside = head.index * n.queries + queries.rows, queries.inside
    scale, square = 2.0 * head.model.scale, found.square[:, None]
    tokens = found.tokens + scale * square * queries.tokens.to(tl.float32)
    store_tokens(grads.tokens, tokens, at, inside, flags.width, flags.padded)
    tl.store(grads.noise + at, found.noise, mask=inside)
    store_levels(grads.level, found.levels, 1.0, at, inside, flags)
    share = store_lags(found.through_lags, head, grads, at, inside)
    tl.store(share + 3, found.dof)
    tl.store(share + 4, found.inverse_temperature)


@triton.jit
def query_kernel(q, k, mask, model, n, results, outward, grads, flags: tl.constexpr):
    """Write the gradients in a block of queries, and its share of those in parameters."""
    head = head_of(q, k, mask, model, n, flags)
    if (head.model.powers > 0.0) != (flags.power >= 0):
        return
    first = (head.blocks - 1 - head.block) * flags.block_q  # the most keys first
    queries = load_queries(head, first, n, flags)
    rows = load_rows(results, outward, head, queries, n)
    out = load_outward(outward, head, queries, n, flags)
    before, after = places(first, n, flags)
    start, stop = limits_of(results, head, queries, before, after, n, flags)
    found = no_gradients(queries, flags)
    beside = tl.minimum(after, n.keys)
    found = add_tiles(found, head, queries, out, rows, before, beside, n, BESIDE, flags)
    found = add_tiles(found, head, queries, out, rows, start, before, n, EARLIER, flags)
    if not flags.causal:
        found = add_tiles(found, head, queries, out, rows, after, stop, n, LATER, flags)
    store_gradients(found, head, queries, grads, n, flags)
