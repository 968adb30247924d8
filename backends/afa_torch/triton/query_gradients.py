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
    lag_gradients,
    of_keys,
    signed_lags,
    unit_variance_slope,
)
from afa_torch.triton.forward import side_of
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
from afa_torch.triton.sides import query_ends, query_lags
from afa_torch.triton.tiles import load_keys, load_queries, places, product, tile_of


class ThroughQueries(NamedTuple):
    """Where the gradients of blocks of queries are written."""

    tokens: Any  # (g, n, 2d)
    times: Any  # (g, n)
    noise: Any  # (g, n)
    level: Any  # (g, n, directions)
    model: Any  # in μ, σ², η², ν_s, β, (g, blocks, 5)


class LagSums(NamedTuple):
    """Gradients through lags of queries, in their times and in parameters."""

    times: Any
    decay: Any
    process: Any
    measurement: Any


class SideSums(NamedTuple):
    """Gradients of queries as seen from one side: in log e, with its part in Σ, and in a."""

    log: Any
    sigma: Any


class QueryGradients(NamedTuple):
    """Gradients of a block of queries, and its share of those in parameters."""

    tokens: Any  # through products
    square: Any
    noise: Any
    levels: Levels
    lags: LagSums
    dof: Any
    inverse_temperature: Any


@triton.jit
def no_gradients(flags: tl.constexpr):
    """Return gradients before the first tile."""
    BLOCK_Q: tl.constexpr = flags.block_q
    PADDED: tl.constexpr = flags.padded
    tokens = tl.zeros((BLOCK_Q, PADDED), tl.float32)
    none = tl.zeros((BLOCK_Q,), tl.float32)
    lags = LagSums(none, none, none, none)
    return QueryGradients(tokens, none, none, Levels(none, none), lags, none, none)


@triton.jit
def add_side(found, sums, model, tile, grad_sigma, log_decay, flags: tl.constexpr):
    """Return gradients with those of a tile on one side, of queries and of the lag between."""
    x = tile.factors
    e, g, own2 = x.queries.decayed, x.keys.variance, x.own * x.own
    grad_a = tl.sum(grad_sigma, 1)
    by_log = tl.sum(log_decay, 1) + 2.0 * e * e * tl.sum(grad_sigma * of_keys(g, flags), 1)
    by_variance = own2 * grad_a  # Σ = a + e²(V + s²g), with e without s
    process = model.process
    slope = unit_variance_slope(model.decay, x.gap, x.decayed, x.variance)
    lags = LagSums(
        found.times,
        found.decay + process * slope * by_variance - x.gap * by_log,
        found.process + x.variance * by_variance,
        found.measurement,
    )
    log = sums.log + by_log + 2.0 * process * x.variance * by_variance
    return lags, SideSums(log, sums.sigma + grad_a)


@triton.jit
def add_beside(found, model, tile, grad_sigma, log_decay, flags: tl.constexpr):
    """Return gradients with those of a tile of pairs whose lags are their own."""
    lags = signed_lags(tile.queries, tile.keys, tile.visible, flags)
    measured = tile.decayed * tile.decayed * grad_sigma
    by_log = log_decay + 2.0 * model.measurement * measured
    by = lag_gradients(model, tl.abs(lags), tile.decayed, grad_sigma, by_log)
    return LagSums(
        found.times + tl.sum(signed_by_lag(by.lag, lags), 1),
        found.decay + tl.sum(by.decay, 1),
        found.process + tl.sum(by.process, 1),
        found.measurement + tl.sum(measured, 1),
    )


@triton.jit
def add_lags(
    found, sums, model, tile, grad_sigma, log_decay, SIDE: tl.constexpr, flags: tl.constexpr
):  # fmt: skip
    """Return gradients with those of a tile through its lags."""
    if SIDE == BESIDE:
        found = add_beside(found, model, tile, grad_sigma, log_decay, flags)
    elif flags.regular or tile.order == SIDE:
        found, sums = add_side(found, sums, model, tile, grad_sigma, log_decay, flags)
    else:
        found = add_beside(found, model, tile, grad_sigma, log_decay, flags)
    return found, sums


@triton.jit
def with_side(found, sums, model, queries, ends, SIDE: tl.constexpr):
    """Return gradients with those of all tiles on one side, through lags within the block."""
    if SIDE != BESIDE:
        lags = query_lags(queries, ends, SIDE)
        by = lag_gradients(model, lags, tl.exp(-model.decay * lags), sums.sigma, sums.log)
        times = by.lag if SIDE == EARLIER else -by.lag
        found = LagSums(
            found.times + times,
            found.decay + by.decay,
            found.process + by.process,
            found.measurement,
        )
    return found


@triton.jit
def add_tile(
    found, sums, head, queries, ends, side, outward, rows, start, n,
    SIDE: tl.constexpr, flags: tl.constexpr,
):  # fmt: skip
    """Return gradients with those of the keys of a tile."""
    keys = load_keys(head, start, n, SIDE == EARLIER, flags)
    tile = tile_of(head, queries, keys, ends, side, n, SIDE, flags)
    by = tile_gradients(head, tile, outward, rows, SIDE, flags)
    own = by.of_weights
    lags, sums = add_lags(found.lags, sums, head.model, tile, own.sigma, by.log_decay, SIDE, flags)
    total = QueryGradients(
        product(by.product.to(keys.tokens.dtype), keys.tokens, found.tokens, flags),
        found.square + tl.sum(own.squared, 1),
        found.noise + tl.sum(own.sigma, 1),
        add_levels(found.levels, tile, own.log_weight, SIDE, flags),
        lags,
        found.dof + own.dof,
        found.inverse_temperature + own.inverse_temperature,
    )
    return total, sums


@triton.jit
def add_tiles(
    found, head, queries, ends, outward, rows, first, last, n,
    SIDE: tl.constexpr, flags: tl.constexpr,
):  # fmt: skip
    """Return gradients with those of the keys from first up to last."""
    side, none = side_of(head, queries, ends, SIDE, flags), queries.noise * 0.0
    sums = SideSums(none, none)
    for start in tl.range(first, last, flags.block_k):
        found, sums = add_tile(
            found, sums, head, queries, ends, side, outward, rows, start, n, SIDE, flags
        )
    return QueryGradients(
        found.tokens,
        found.square,
        found.noise,
        found.levels,
        with_side(found.lags, sums, head.model, queries, ends, SIDE),
        found.dof,
        found.inverse_temperature,
    )


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
def store_lags(found, times, share, inside):
    """Write gradients through lags: in times, and the share of a block in parameters."""
    tl.store(times, found.times, mask=inside)
    tl.store(share, tl.sum(found.decay, 0))
    tl.store(share + 1, tl.sum(found.process, 0))
    tl.store(share + 2, tl.sum(found.measurement, 0))


@triton.jit
def store_gradients(found, head, queries, grads, n, flags: tl.constexpr):
    """Write the gradients of a block of queries."""
    at, inside = head.index * n.queries + queries.rows, queries.inside
    scale, square = 2.0 * head.model.scale, found.square[:, None]
    tokens = found.tokens + scale * square * queries.tokens.to(tl.float32)
    store_tokens(grads.tokens, tokens, at, inside, flags.width, flags.padded)
    tl.store(grads.noise + at, found.noise, mask=inside)
    store_levels(grads.level, found.levels, 1.0, at, inside, flags)
    share = grads.model + (head.index * head.blocks + head.block) * 5
    store_lags(found.lags, grads.times + at, share, inside)
    tl.store(share + 3, tl.sum(found.dof, 0))
    tl.store(share + 4, tl.sum(found.inverse_temperature, 0))


@triton.jit
def query_kernel(q, k, mask, model, n, across, results, outward, grads, flags: tl.constexpr):
    """Write the gradients in a block of queries, and its share of those in parameters."""
    head = head_of(q, k, mask, across, model, n, flags)
    if (head.model.powers > 0.0) != (flags.power >= 0):
        return
    first = (head.blocks - 1 - head.block) * flags.block_q  # the most keys first
    queries = load_queries(head, first, n, flags)
    rows = load_rows(results, outward, head, queries, n)
    out = load_outward(outward, head, queries, n, flags)
    before, after = places(first, n, flags)
    start, stop = limits_of(results, head, queries, before, after, n, flags)
    ends, beside = query_ends(head, queries, flags), tl.minimum(after, n.keys)
    found = no_gradients(flags)
    found = add_tiles(found, head, queries, ends, out, rows, before, beside, n, BESIDE, flags)
    found = add_tiles(found, head, queries, ends, out, rows, start, before, n, EARLIER, flags)
    if not flags.causal:
        found = add_tiles(found, head, queries, ends, out, rows, after, stop, n, LATER, flags)
    store_gradients(found, head, queries, grads, n, flags)
