"""The forward of the isotropic form on a GPU: a program for each block of queries (spec §9)."""

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl

from afa_torch.triton.arguments import head_of
from afa_torch.triton.covariance import BESIDE, EARLIER
from afa_torch.triton.early_exit import add_earlier, add_later, first_needed, last_needed
from afa_torch.triton.fast_math import reciprocal
from afa_torch.triton.sides import LOWEST, Side, query_ends, query_side
from afa_torch.triton.tiles import (
    is_finite,
    load_keys,
    load_queries,
    or_hidden,
    pair_products,
    places,
    product,
    tile_of,
)
from afa_torch.triton.weights import (
    log_prior,
    log_robust,
    power_weights,
    squared_residuals,
)


class Sums(NamedTuple):
    """Sums over keys, relative to exp(peak)."""

    carried: Any  # of weights times E ṽ; NaN where a visible value is not finite
    peak: Any
    total: Any
    untempered_peak: Any  # of weights with β = 1
    untempered: Any


@triton.jit
def prior_sums(head, queries, flags: tl.constexpr):
    """Return the sums over no key but the prior's mean, which is zero."""
    BLOCK_Q: tl.constexpr = flags.block_q
    VALUES: tl.constexpr = flags.value_padded
    peak = tl.full((BLOCK_Q,), LOWEST, tl.float32)
    total = tl.zeros((BLOCK_Q,), tl.float32)
    untempered_peak = peak
    if flags.two_sided:
        absent = tl.load(head.q.missing + queries.rows, mask=queries.inside, other=LOWEST)
        absent = tl.where(tl.program_id(1) == 0, absent, LOWEST)  # counted once
        untempered_peak = absent.to(tl.float32)
        there = untempered_peak > LOWEST
        total = there.to(tl.float32)
        peak = tl.where(there, untempered_peak * head.model.inverse_temperature, LOWEST)
    untempered = total
    if flags.power >= 0:
        total = total * tl.exp(tl.where(peak > LOWEST, peak, 0.0))
        peak = tl.zeros((BLOCK_Q,), tl.float32)
    carried = tl.zeros((BLOCK_Q, VALUES), tl.float32)
    return Sums(carried, peak, total, untempered_peak, untempered)


@triton.jit
def add_logits(logit, peak, total):
    """Return weights relative to the new peak, what shrinks earlier sums, and the new sums."""
    higher = tl.maximum(peak, tl.max(logit, 1))
    shift = tl.where(higher > LOWEST, higher, 0.0)
    weights = tl.exp(logit - shift[:, None])
    shrink = tl.exp(peak - shift)
    return weights, shrink, higher, total * shrink + tl.sum(weights, 1)


@triton.jit
def add_weights(sums, model, tile, found, flags: tl.constexpr):
    """Return the weights of a tile, which are those found or of that L, and sums with them."""
    carried, peak, total = sums.carried, sums.peak, sums.total
    other_peak, other = sums.untempered_peak, sums.untempered
    if flags.power >= 0:
        weights = found
        total += tl.sum(weights, 1)
    else:
        logit = or_hidden(found, tile.visible, LOWEST, tile.cut)
        if flags.has_temperature:
            _, _, other_peak, other = add_logits(logit, other_peak, other)
            logit = model.inverse_temperature * logit
            logit = or_hidden(logit, tile.visible, LOWEST, tile.cut)
        weights, shrink, peak, total = add_logits(logit, peak, total)
        carried = carried * shrink[:, None]
    return weights, Sums(carried, peak, total, other_peak, other)


@triton.jit
def add_values(sums, tile, weights, SIDE: tl.constexpr, flags: tl.constexpr):
    """Return sums that carry the values of a tile."""
    value, carried = tile.keys.value, sums.carried
    if SIDE == BESIDE or flags.masked:  # elsewhere all queries attend to all keys
        finite = is_finite(value)
        if tl.min(finite.to(tl.int32)) == 0:
            nonfinite = tl.where(finite, 0.0, 1.0).to(tl.float16)
            seen = tl.dot(tile.visible.to(tl.float16), nonfinite)
            carried = tl.where(seen > 0.0, float("nan"), carried)
            value = tl.where(finite, value, 0.0)
    shown = (weights * tile.decayed).to(value.dtype)
    carried = product(shown, value, carried, flags)
    return Sums(carried, sums.peak, sums.total, sums.untempered_peak, sums.untempered)


@triton.jit
def add_tile(sums, head, queries, ends, side, start, n, SIDE: tl.constexpr, flags: tl.constexpr):
    """Return the sums with the keys of a tile; all keys earlier than the queries exist."""
    keys = load_keys(head, start, n, SIDE == EARLIER, flags)
    tile = tile_of(head, queries, keys, ends, side, n, SIDE, flags)
    products = pair_products(queries.tokens, keys.tokens, flags)
    squared = squared_residuals(head.model, tile, products, flags)
    if flags.power >= 0:
        found = power_weights(head.model, tile, squared, flags)
    else:
        ratio = squared * reciprocal(tile.sigma, flags)
        found = log_prior(tile, flags) + log_robust(head.model, ratio, flags)
    weights, sums = add_weights(sums, head.model, tile, found, flags)
    return add_values(sums, tile, weights, SIDE, flags)


@triton.jit
def side_of(head, queries, ends, SIDE: tl.constexpr, flags: tl.constexpr):
    """Return queries as seen by keys on a side, if they are on one."""
    side = Side(queries.noise, queries.noise, queries.noise)
    if SIDE != BESIDE:
        side = query_side(head, queries, ends, SIDE, flags)
    return side


@triton.jit
def add_tiles(sums, head, queries, ends, first, last, n, SIDE: tl.constexpr, flags: tl.constexpr):
    """Return the sums with the keys from first up to last."""
    side = side_of(head, queries, ends, SIDE, flags)
    for start in tl.range(first, last, flags.block_k):
        sums = add_tile(sums, head, queries, ends, side, start, n, SIDE, flags)
    return sums


@triton.jit
def place_of(head, queries, n):
    """Return where the results of a block of queries are written, from one share of the keys."""
    heads = tl.num_programs(0) // head.blocks
    return (tl.program_id(1) * heads + head.index) * n.queries + queries.rows


@triton.jit
def spans_of(first, n, flags: tl.constexpr):
    """Return the share of the keys of this program: where it begins, and where it ends.

    Between them, the first key of the tiles that causality cuts through, and that after the last.
    """
    before, after = places(first, n, flags)
    tiles = tl.cdiv(tl.cdiv(n.keys, flags.block_k), n.splits)
    low = tl.minimum(tl.program_id(1) * tiles * flags.block_k, n.keys)
    high = tl.minimum(low + tiles * flags.block_k, n.keys)
    after = tl.minimum(after, n.keys)
    return (
        low,
        tl.maximum(tl.minimum(before, high), low),
        tl.maximum(tl.minimum(after, high), low),
        high,
    )


@triton.jit
def store_results(sums, head, queries, results, n, flags: tl.constexpr):
    """Write the estimates of a block of queries, and what the backward needs."""
    VALUES: tl.constexpr = flags.value_padded
    total, inside = sums.total, queries.inside
    estimate = sums.carried / tl.where(total == 0.0, 1.0, total)[:, None]
    at, channels = place_of(head, queries, n), tl.arange(0, VALUES)
    place = results.mean + at[:, None] * flags.value_width + channels[None, :]
    tl.store(place, estimate, mask=inside[:, None] & (channels < flags.value_width)[None, :])
    if flags.power >= 0:
        precision = total if flags.directions > 0 else total / head.model.unit
    elif flags.has_temperature:
        precision = sums.untempered * tl.exp(sums.untempered_peak)
        precision = tl.where(sums.untempered == 0.0, 0.0, precision)
    else:
        precision = tl.where(total == 0.0, 0.0, total * tl.exp(sums.peak))
    tl.store(results.precision + at, precision, mask=inside)
    tl.store(results.peak + at, sums.peak, mask=inside)
    tl.store(results.total + at, total, mask=inside)


@triton.jit
def store_limits(results, head, queries, start, stop, n):
    """Write the first key that a block of queries visits, and the one after the last."""
    at = place_of(head, queries, n) * 2
    tl.store(results.limits + at, queries.rows * 0 + start, mask=queries.inside)
    tl.store(results.limits + at + 1, queries.rows * 0 + stop, mask=queries.inside)


@triton.jit
def forward_kernel(q, k, mask, model, n, across, results, flags: tl.constexpr):
    """Write the results of a block of queries."""
    head = head_of(q, k, mask, across, model, n, flags)
    if (head.model.powers > 0.0) != (flags.power >= 0):
        return
    first = (head.blocks - 1 - head.block) * flags.block_q  # the most keys first
    queries = load_queries(head, first, n, flags)
    low, before, stop, high = spans_of(first, n, flags)
    ends, sums = query_ends(head, queries, flags), prior_sums(head, queries, flags)
    sums = add_tiles(sums, head, queries, ends, before, stop, n, BESIDE, flags)
    sums, start = add_earlier(
        sums, head, queries, ends, low, before, n, add_tiles, first_needed, flags
    )
    if not flags.causal:
        sums, stop = add_later(
            sums, head, queries, ends, stop, high, n, add_tiles, last_needed, flags
        )
    store_results(sums, head, queries, results, n, flags)
    store_limits(results, head, queries, start, stop, n)
