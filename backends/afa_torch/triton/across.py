"""The tokens of the second axis of tiles, as they are seen from the first: once for all tiles."""

from __future__ import annotations

import triton
import triton.language as tl

from afa_torch.triton.arguments import blocks_of, head_at
from afa_torch.triton.covariance import EARLIER, LATER
from afa_torch.triton.sides import (
    key_ends,
    key_side,
    query_ends,
    query_side,
    store_ends,
    store_side,
)
from afa_torch.triton.tiles import load_keys, load_queries


@triton.jit
def store_queries(head, n, flags: tl.constexpr):
    """Write what is known of a block of queries."""
    queries = load_queries(head, head.block * flags.block_q, n, flags)
    ends = query_ends(head, queries, flags)
    store_ends(ends, head)
    at, inside = queries.rows, queries.inside
    side = query_side(head, queries, ends, EARLIER, flags)
    store_side(side, head, at, inside, n.queries, EARLIER)
    if not flags.causal:
        side = query_side(head, queries, ends, LATER, flags)
        store_side(side, head, at, inside, n.queries, LATER)


@triton.jit
def store_keys(head, n, flags: tl.constexpr):
    """Write what is known of a block of keys."""
    keys = load_keys(head, head.block * flags.block_k, n, False, flags)
    ends = key_ends(head, keys, flags)
    store_ends(ends, head)
    side = key_side(head, keys, ends, EARLIER, flags)
    store_side(side, head, keys.columns, keys.exists, n.keys, EARLIER)
    if not flags.causal:
        side = key_side(head, keys, ends, LATER, flags)
        store_side(side, head, keys.columns, keys.exists, n.keys, LATER)


@triton.jit
def across_kernel(q, k, mask, model, n, across, flags: tl.constexpr):
    """Write what is known of a block of the second axis of tiles."""
    _, blocks, _ = blocks_of(n, flags)
    h = (tl.program_id(0) // blocks).to(tl.int64)
    head = head_at(q, k, mask, across, model, n, h, tl.program_id(0) % blocks, flags)
    if (head.model.powers > 0.0) != (flags.power >= 0):
        return
    if flags.transposed:
        store_queries(head, n, flags)
    else:
        store_keys(head, n, flags)
