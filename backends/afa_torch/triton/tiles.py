"""Blocks of queries and of keys, which of their pairs are visible, and the influence of keys."""

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl

from afa_torch.triton.covariance import (
    BESIDE,
    EARLIER,
    covariance_of_lags,
    differences,
    of_keys,
    of_queries,
    signed_lags,
)
from afa_torch.triton.sides import (
    factors_of,
    gap_between,
    key_level,
    load_ends,
    load_side,
    query_level,
)


class Queries(NamedTuple):
    """A block of queries."""

    first: Any
    rows: Any
    inside: Any
    tokens: Any
    square: Any
    times: Any
    noise: Any


class Keys(NamedTuple):
    """A block of keys."""

    first: Any
    columns: Any
    exists: Any
    tokens: Any
    value: Any
    square: Any
    times: Any


class Tile(NamedTuple):
    """The pairs of a block of queries and a block of keys."""

    queries: Queries
    keys: Keys
    visible: Any
    cut: bool  # whether some pairs may be hidden
    order: Any
    decayed: Any  # E
    sigma: Any  # Σ
    influence: Any  # of correlated keys, or its logarithm where weights take one; else Σ
    factors: Any  # of which E and Σ are formed where the keys are on a side


@triton.jit
def load_tokens(
    pointer, rows, inside, width: tl.constexpr, padded: tl.constexpr, whole: tl.constexpr
):
    """Load tokens (rows, channels), zero beyond their number; `whole` says that all rows exist."""
    channels = tl.arange(0, padded)
    at = pointer + rows[:, None] * width + channels[None, :]
    if whole and width == padded:
        found = tl.load(at)
    else:
        found = tl.load(at, mask=inside[:, None] & (channels[None, :] < width), other=0.0)
    return found


@triton.jit
def product(x, y, total, flags: tl.constexpr):
    """Return the product of two matrices, added to a total."""
    PRECISION: tl.constexpr = flags.precision
    if flags.interpreted:
        x, y = x.to(tl.float32), y.to(tl.float32)
    return tl.dot(x, y, acc=total, input_precision=PRECISION)


@triton.jit
def pair_products(of_queries, of_keys, flags: tl.constexpr):
    """Return the dot products of tokens of queries and of keys, for every pair of a tile."""
    BLOCK_Q: tl.constexpr = flags.block_q
    BLOCK_K: tl.constexpr = flags.block_k
    if flags.transposed:
        none = tl.zeros((BLOCK_K, BLOCK_Q), tl.float32)
        found = product(of_keys, tl.trans(of_queries), none, flags)
    else:
        none = tl.zeros((BLOCK_Q, BLOCK_K), tl.float32)
        found = product(of_queries, tl.trans(of_keys), none, flags)
    return found


@triton.jit
def is_finite(x):
    """Return which numbers are finite."""
    wide = x.to(tl.float32)
    return (wide - wide) == 0.0


@triton.jit
def load_queries(head, first, n, flags: tl.constexpr):
    """Load the block of queries that begins at `first`."""
    BLOCK_Q: tl.constexpr = flags.block_q
    rows = first + tl.arange(0, BLOCK_Q)
    inside, q = rows < n.queries, head.q
    return Queries(
        first,
        rows,
        inside,
        load_tokens(q.tokens, rows, inside, flags.width, flags.padded, False),
        tl.load(q.square + rows, mask=inside, other=0.0),
        tl.load(q.times + rows, mask=inside, other=0.0),
        tl.load(q.noise + rows * n.noise_row, mask=inside, other=1.0),
    )


@triton.jit
def load_keys(head, start, n, whole: tl.constexpr, flags: tl.constexpr):
    """Load the block of keys that begins at `start`; `whole` says that all of them exist."""
    BLOCK_K: tl.constexpr = flags.block_k
    columns = start + tl.arange(0, BLOCK_K)
    exists, k = columns < n.keys, head.k
    return Keys(
        start,
        columns,
        exists,
        load_tokens(k.tokens, columns, exists, flags.width, flags.padded, whole),
        load_tokens(k.value, columns, exists, flags.value_width, flags.value_padded, whole),
        tl.load(k.square + columns, mask=exists, other=0.0),
        tl.load(k.times + columns, mask=exists, other=0.0),
    )


@triton.jit
def places(first, n, flags: tl.constexpr):
    """Return the tiles that causality cuts through: their first key, and that after the last.

    Tiles begin at multiples of their size, so that queries and keys divide them alike.
    """
    last = tl.minimum(first + flags.block_q, n.queries)
    before = tl.minimum(tl.maximum(first + n.keys - n.queries, 0), n.keys)
    after = tl.minimum(tl.maximum(last + n.keys - n.queries, 0), n.keys)
    return before // flags.block_k * flags.block_k, tl.cdiv(after, flags.block_k) * flags.block_k


@triton.jit
def visible_pairs(head, queries, keys, n, cut: tl.constexpr, flags: tl.constexpr):
    """Return which queries attend to which keys; `cut` says that causality may hide some."""
    visible = of_keys(keys.exists, flags) & of_queries(queries.inside, flags)
    if flags.causal and cut:
        last = queries.rows + n.keys - n.queries
        visible = visible & (of_keys(keys.columns, flags) <= of_queries(last, flags))
    if flags.masked:
        rows = queries.rows.to(tl.int64)  # a mask may have more numbers than 32 bits count
        at = of_queries(rows, flags) * n.mask_row + of_keys(keys.columns, flags)
        visible = visible & (tl.load(head.mask + at, mask=visible, other=0) != 0)
    return visible


@triton.jit
def or_hidden(x, visible, value, cut: tl.constexpr):
    """Return numbers of pairs, and a value for hidden ones; there are none without `cut`."""
    return tl.where(visible, x, value) if cut else x


@triton.jit
def log_influence_of_pairs(head, queries, keys, flags: tl.constexpr):
    """Return the logarithm of influence of every pair of a tile that is not on one side."""
    own, levels = query_level(head, queries, 0, flags), key_level(head, keys, 0, flags)
    found = differences(own, levels, flags)
    if flags.directions > 1:
        own, levels = query_level(head, queries, 1, flags), key_level(head, keys, 1, flags)
        later = differences(queries.times, keys.times, flags) < 0.0
        found = tl.where(later, differences(own, levels, flags), found)
    return found


@triton.jit
def pairs_beside(head, queries, keys, visible, flags: tl.constexpr):
    """Return E, Σ and influence of every pair of a tile that is not on one side."""
    lags = tl.abs(signed_lags(queries, keys, visible, flags))
    decayed, sigma = covariance_of_lags(head.model, queries, lags, flags)
    influence = sigma
    if flags.directions > 0:
        influence = log_influence_of_pairs(head, queries, keys, flags)
        if flags.power >= 0:
            influence = tl.exp(influence)
    return decayed, sigma, influence


@triton.jit
def pairs_of(factors, flags: tl.constexpr):
    """Return E, Σ and influence of every pair of a tile on one side."""
    e, a, own = factors.queries
    f, g, others = factors.keys
    decayed = of_queries(e, flags) * of_keys(f, flags)
    sigma = of_queries(a, flags) + of_queries(e * e, flags) * of_keys(g, flags)
    influence = sigma
    if flags.directions > 0:
        if flags.power >= 0:
            influence = of_queries(own, flags) * of_keys(others, flags)
        else:
            influence = of_queries(own, flags) + of_keys(others, flags)
    return decayed, sigma, influence


@triton.jit
def others_of(head, queries, keys, n, SIDE: tl.constexpr, flags: tl.constexpr):
    """Load the ends of the block of the second axis, and its tokens as seen from one side."""
    if flags.transposed:
        ends = load_ends(head, queries.first // flags.block_q, flags)
        rows, inside = queries.rows, queries.inside
        side = load_side(head, rows, inside, n.queries, False, SIDE, flags)
    else:
        ends = load_ends(head, keys.first // flags.block_k, flags)
        whole: tl.constexpr = SIDE == EARLIER
        side = load_side(head, keys.columns, keys.exists, n.keys, whole, SIDE, flags)
    return ends, side


@triton.jit
def order_of(ends, others, SIDE: tl.constexpr, flags: tl.constexpr):
    """Return where the keys of a tile are in time, of those that come before or after by number."""
    order = SIDE
    if not flags.regular:
        queries, keys = ends, others
        if flags.transposed:
            queries, keys = others, ends
        order = tl.where(gap_between(queries, keys, SIDE) > 0.0, SIDE, BESIDE)
    return order


@triton.jit
def tile_of(head, queries, keys, ends, side, n, SIDE: tl.constexpr, flags: tl.constexpr):
    """Return the pairs of two blocks.

    ``SIDE`` says where the keys are in the sequence, ``ends`` and ``side`` are of the block of the
    first axis as seen from there; neither is read where the keys are beside the queries.
    """
    cut: tl.constexpr = SIDE != EARLIER or flags.masked
    visible = visible_pairs(head, queries, keys, n, SIDE == BESIDE, flags)
    if SIDE == BESIDE:
        decayed, sigma, influence = pairs_beside(head, queries, keys, visible, flags)
        tile = Tile(queries, keys, visible, cut, SIDE, decayed, sigma, influence, side)
    else:
        others, other = others_of(head, queries, keys, n, SIDE, flags)
        factors = factors_of(head.model, ends, side, others, other, SIDE, flags)
        order = order_of(ends, others, SIDE, flags)
        decayed, sigma, influence = pairs_of(factors, flags)
        if not flags.regular:
            if order == BESIDE:
                decayed, sigma, influence = pairs_beside(head, queries, keys, visible, flags)
        tile = Tile(queries, keys, visible, cut, order, decayed, sigma, influence, factors)
    return tile
