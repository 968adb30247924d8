"""Tiles from the nearest to the farthest, until the rest may be left out (spec §14)."""

from __future__ import annotations

import triton
import triton.language as tl

from afa_torch.triton.covariance import EARLIER, LATER
from afa_torch.triton.sides import query_level
from afa_torch.triton.weights import log_or_lowest

CHUNK = tl.constexpr(8)
"""Tiles between two looks at whether the rest may be left out."""


@triton.jit
def negligible(sums, head, queries, key, n, direction: tl.constexpr, flags: tl.constexpr):
    """Whether a key and all beyond it have at most the share of the weight of every query."""
    far = tl.load(head.k.far + key * flags.directions + direction)
    bound = query_level(head, queries, direction, flags) + far
    log_total = sums.peak + log_or_lowest(sums.total)
    small = (bound <= log_total + n.share) | ~queries.inside
    return tl.min(small.to(tl.int32), 0) > 0


@triton.jit
def first_needed(sums, head, queries, low, high, n, flags: tl.constexpr):
    """Return the first tile, from low to high, such that earlier keys may be left out."""
    while low < high:
        middle = (low + high + 1) // 2
        if negligible(sums, head, queries, middle * flags.block_k - 1, n, 0, flags):
            low = middle
        else:
            high = middle - 1
    return low


@triton.jit
def last_needed(sums, head, queries, low, high, n, flags: tl.constexpr):
    """Return the tile, from low to high, such that keys from it on may be left out."""
    while low < high:
        middle = (low + high) // 2
        if negligible(sums, head, queries, middle * flags.block_k, n, flags.directions - 1, flags):
            high = middle
        else:
            low = middle + 1
    return low


@triton.jit
def add_earlier(
    sums, head, queries, ends, first, before, n,
    add: tl.constexpr, needed: tl.constexpr, flags: tl.constexpr,
):  # fmt: skip
    """Return the sums with keys before the block of queries, and the first key visited.

    ``add`` is `add_tiles` of a form, and ``needed`` its `first_needed`.
    """
    if flags.exits:
        place, tile = before // flags.block_k, first // flags.block_k
        tile = needed(sums, head, queries, tile, place, n, flags)
        while tile < place:
            near = tl.maximum(tile, place - CHUNK)
            span = near * flags.block_k, place * flags.block_k
            sums = add(sums, head, queries, ends, *span, n, EARLIER, flags)
            place = near
            tile = needed(sums, head, queries, tile, place, n, flags)
        first = place * flags.block_k
    else:
        sums = add(sums, head, queries, ends, first, before, n, EARLIER, flags)
    return sums, first


@triton.jit
def add_later(
    sums, head, queries, ends, after, last, n,
    add: tl.constexpr, needed: tl.constexpr, flags: tl.constexpr,
):  # fmt: skip
    """Return the sums with keys after the block of queries, and the one after the last visited.

    ``add`` is `add_tiles` of a form, and ``needed`` its `last_needed`.
    """
    if flags.exits:
        place, tile = tl.cdiv(after, flags.block_k), tl.cdiv(last, flags.block_k)
        tile = needed(sums, head, queries, place, tile, n, flags)
        while place < tile:
            near = tl.minimum(tile, place + CHUNK)
            span = place * flags.block_k, tl.minimum(near * flags.block_k, last)
            sums = add(sums, head, queries, ends, *span, n, LATER, flags)
            place = near
            tile = needed(sums, head, queries, place, tile, n, flags)
        last = tl.minimum(place * flags.block_k, last)
    else:
        sums = add(sums, head, queries, ends, after, last, n, LATER, flags)
    return sums, last
