"""The forward of the radial–tangential form on a GPU: one sum for each component (spec §6, §9)."""

from __future__ import annotations

import triton
import triton.language as tl

from afa_torch.triton.covariance import BESIDE, EARLIER
from afa_torch.triton.early_exit import add_earlier, add_later, first_needed, last_needed
from afa_torch.triton.forward import (
    add_values,
    add_weights,
    prior_sums,
    side_of,
    spans_of,
    store_limits,
    store_results,
)
from afa_torch.triton.radial_tangential import (
    Components,
    both_weights,
    heads_of,
    load_both,
    residuals_of,
    tiles_of,
)
from afa_torch.triton.sides import query_ends
from afa_torch.triton.tiles import load_keys


@triton.jit
def ends_of_both(heads, queries, flags: tl.constexpr):
    """Return the ends of a block of queries for each component, which differ in their levels."""
    return Components(
        query_ends(heads.radial, queries.radial, flags),
        query_ends(heads.tangential, queries.tangential, flags),
    )


@triton.jit
def sides_of(heads, queries, ends, SIDE: tl.constexpr, flags: tl.constexpr):
    """Return queries as seen by keys on a side, for each component, if they are on one."""
    return Components(
        side_of(heads.radial, queries.radial, ends.radial, SIDE, flags),
        side_of(heads.tangential, queries.tangential, ends.tangential, SIDE, flags),
    )


@triton.jit
def add_tile(
    sums, heads, queries, ends, sides, start, n, SIDE: tl.constexpr, flags: tl.constexpr
):  # fmt: skip
    """Return the sums of both components with the keys of a tile."""
    keys = load_keys(heads.radial, start, n, SIDE == EARLIER, flags)
    tiles = tiles_of(heads, queries, keys, ends, sides, n, SIDE, flags)
    model = heads.radial.model
    found = both_weights(model, tiles, residuals_of(tiles, flags), flags)
    weights, radial = add_weights(sums.radial, model, tiles.radial, found.radial, flags)
    others, own = add_weights(sums.tangential, model, tiles.tangential, found.tangential, flags)
    return Components(
        add_values(radial, tiles.radial, weights, SIDE, flags),
        add_values(own, tiles.radial, others, SIDE, flags),
    )


@triton.jit
def add_tiles(
    sums, heads, queries, ends, first, last, n, SIDE: tl.constexpr, flags: tl.constexpr
):  # fmt: skip
    """Return the sums with the keys from first up to last."""
    sides = sides_of(heads, queries, ends, SIDE, flags)
    for start in tl.range(first, last, flags.block_k):
        sums = add_tile(sums, heads, queries, ends, sides, start, n, SIDE, flags)
    return sums


@triton.jit
def first_of_both(sums, heads, queries, low, high, n, flags: tl.constexpr):
    """Return the first tile such that earlier keys may be left out of both components."""
    radial = first_needed(sums.radial, heads.radial, queries.radial, low, high, n, flags)
    return tl.minimum(
        radial,
        first_needed(sums.tangential, heads.tangential, queries.radial, low, high, n, flags),
    )


@triton.jit
def last_of_both(sums, heads, queries, low, high, n, flags: tl.constexpr):
    """Return the tile such that keys from it on may be left out of both components."""
    radial = last_needed(sums.radial, heads.radial, queries.radial, low, high, n, flags)
    return tl.maximum(
        radial,
        last_needed(sums.tangential, heads.tangential, queries.radial, low, high, n, flags),
    )


@triton.jit
def both_forward_kernel(q, k, mask, model, n, across, results, flags: tl.constexpr):
    """Write the results of a block of queries, of both components."""
    heads = heads_of(q, k, mask, across, model, n, flags)
    if (heads.radial.model.powers > 0.0) != (flags.power >= 0):
        return
    first = (heads.radial.blocks - 1 - heads.radial.block) * flags.block_q  # the most keys first
    queries = load_both(heads, first, n, flags)
    low, before, stop, high = spans_of(first, n, flags)
    sums = Components(
        prior_sums(heads.radial, queries.radial, flags),
        prior_sums(heads.tangential, queries.radial, flags),
    )
    ends = ends_of_both(heads, queries, flags)
    sums = add_tiles(sums, heads, queries, ends, before, stop, n, BESIDE, flags)
    sums, start = add_earlier(
        sums, heads, queries, ends, low, before, n, add_tiles, first_of_both, flags
    )
    if not flags.causal:
        sums, stop = add_later(
            sums, heads, queries, ends, stop, high, n, add_tiles, last_of_both, flags
        )
    store_results(sums.radial, heads.radial, queries.radial, results.radial, n, flags)
    store_results(sums.tangential, heads.tangential, queries.radial, results.tangential, n, flags)
    store_limits(results.radial, heads.radial, queries.radial, start, stop, n)
