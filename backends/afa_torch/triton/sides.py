"""Blocks of tokens as they are seen from one side, with no exponential of a pair (spec §2).

Where all keys of a tile come before all its queries, or after, a lag is the sum of three: from the
query to the end of its block that is nearest to the keys, from there to the nearest end of the
block of keys, and from there to the key. So E = e s f, and Σ = a + e²(V + s²g), with s and V of the
lag between the blocks, a number; e and a, f and g are computed once, not in every tile. Correlated
keys have influence by sums of levels, which are split in the same way.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl

from afa_torch.triton.arguments import ENDS, FIELDS
from afa_torch.triton.covariance import EARLIER, LATER, unit_variance

LOWEST = tl.constexpr(float("-inf"))


class Ends(NamedTuple):
    """The first and last time of a block, and its greatest levels, in double precision."""

    low: Any
    high: Any
    past: Any
    future: Any


class Side(NamedTuple):
    """Tokens of a block as seen from one side, by way of its end there."""

    decayed: Any  # e of queries, f of keys
    variance: Any  # a of queries, g of keys
    influence: Any  # of correlated keys, or its logarithm where weights take one


class Factors(NamedTuple):
    """E = e f, Σ = a + e²g and influence of a tile; s and V are with its first axis."""

    queries: Side
    keys: Side
    own: Any  # e or f of the first axis, without s
    gap: Any  # the lag between the blocks
    decayed: Any  # s
    variance: Any  # V/σ²


@triton.jit
def query_level(head, queries, direction, flags: tl.constexpr):
    """Load the levels of queries in one direction; no key has influence on one that is none."""
    at = head.q.level + queries.rows * flags.directions + direction
    return tl.load(at, mask=queries.inside, other=LOWEST)


@triton.jit
def key_level(head, keys, direction, flags: tl.constexpr):
    """Load the levels of keys in one direction; one that is none has no influence."""
    at = head.k.level + keys.columns * flags.directions + direction
    return tl.load(at, mask=keys.exists, other=float("inf"))


@triton.jit
def greatest(levels):
    """Return the greatest level that is finite, 0 if there is none."""
    found = tl.max(tl.where(tl.abs(levels) < float("inf"), levels, LOWEST), 0)
    return tl.where(found > LOWEST, found, 0.0)


@triton.jit
def times_between(times, inside):
    """Return the first and the last time of a block."""
    low = tl.min(tl.where(inside, times, float("inf")), 0)
    return low, tl.max(tl.where(inside, times, float("-inf")), 0)


@triton.jit
def query_ends(head, queries, flags: tl.constexpr):
    """Return the ends of a block of queries."""
    low, high = times_between(queries.times, queries.inside)
    past, future = low, low
    if flags.directions > 0:
        past = greatest(query_level(head, queries, 0, flags))
        future = greatest(query_level(head, queries, flags.directions - 1, flags))
    return Ends(low, high, past, future)


@triton.jit
def key_ends(head, keys, flags: tl.constexpr):
    """Return the ends of a block of keys."""
    low, high = times_between(keys.times, keys.exists)
    past, future = low, low
    if flags.directions > 0:
        past = greatest(-key_level(head, keys, 0, flags))
        future = greatest(-key_level(head, keys, flags.directions - 1, flags))
    return Ends(low, high, past, future)


@triton.jit
def query_lags(queries, ends, SIDE: tl.constexpr):
    """Return the lags of queries from the end of their block that is nearest to keys."""
    end = ends.low if SIDE == EARLIER else ends.high
    return tl.where(queries.inside, tl.abs(queries.times - end), 0.0).to(tl.float32)


@triton.jit
def key_lags(keys, ends, SIDE: tl.constexpr):
    """Return the lags of keys from the end of their block that is nearest to queries."""
    end = ends.high if SIDE == EARLIER else ends.low
    return tl.where(keys.exists, tl.abs(keys.times - end), 0.0).to(tl.float32)


@triton.jit
def influence_from(levels, ends, SIDE: tl.constexpr, flags: tl.constexpr):
    """Return the influence by levels relative to the greatest, or its logarithm."""
    found = (levels - (ends.past if SIDE == EARLIER else ends.future)).to(tl.float32)
    return tl.exp(found) if flags.power >= 0 else found


@triton.jit
def query_side(head, queries, ends, SIDE: tl.constexpr, flags: tl.constexpr):
    """Return queries as seen by keys on a side."""
    model, lag = head.model, query_lags(queries, ends, SIDE)
    decayed = tl.exp(-model.decay * lag)
    variance = queries.noise + model.process * unit_variance(model.decay, lag, decayed)
    influence = variance
    if flags.directions > 0:
        direction: tl.constexpr = 0 if SIDE == EARLIER else flags.directions - 1
        levels = query_level(head, queries, direction, flags)
        influence = influence_from(levels, ends, SIDE, flags)
    return Side(decayed, variance, influence)


@triton.jit
def key_side(head, keys, ends, SIDE: tl.constexpr, flags: tl.constexpr):
    """Return keys on a side as seen by queries."""
    model, lag = head.model, key_lags(keys, ends, SIDE)
    decayed = tl.exp(-model.decay * lag)
    variance = model.process * unit_variance(model.decay, lag, decayed)
    variance += decayed * decayed * model.measurement
    influence = variance
    if flags.directions > 0:
        direction: tl.constexpr = 0 if SIDE == EARLIER else flags.directions - 1
        levels = -key_level(head, keys, direction, flags)
        influence = influence_from(levels, ends, SIDE, flags)
    return Side(decayed, variance, influence)


@triton.jit
def gap_between(queries, keys, SIDE: tl.constexpr):
    """Return the lag between the ends of two blocks, positive where all keys are on a side."""
    found = queries.low - keys.high if SIDE == EARLIER else keys.low - queries.high
    return found.to(tl.float32)


@triton.jit
def shifted(influence, ends, others, SIDE: tl.constexpr, flags: tl.constexpr):
    """Return influence by levels that are relative to the greatest of neither block."""
    if SIDE == EARLIER:
        shift = (ends.past + others.past).to(tl.float32)
    else:
        shift = (ends.future + others.future).to(tl.float32)
    return influence * tl.exp(shift) if flags.power >= 0 else influence + shift


@triton.jit
def factors_of(model, ends, side, others, other, SIDE: tl.constexpr, flags: tl.constexpr):
    """Return the factors of a tile from a block of its first axis and one of its second."""
    keys, queries = ends, others
    if not flags.transposed:
        keys, queries = others, ends
    gap = tl.abs(gap_between(queries, keys, SIDE))
    s = tl.exp(-model.decay * gap)
    unit = unit_variance(model.decay, gap, s)
    influence = side.influence
    if flags.directions > 0:
        influence = shifted(influence, ends, others, SIDE, flags)
    own, variance = side.decayed, model.process * unit
    if flags.transposed:
        first = Side(s * own, variance + s * s * side.variance, influence)
        found = Factors(other, first, own, gap, s, unit)
    else:
        first = Side(s * own, side.variance + own * own * variance, influence)
        found = Factors(first, other, own, gap, s, unit)
    return found


@triton.jit
def load_ends(head, block, flags: tl.constexpr):
    """Load the ends of a block of the second axis."""
    at = head.across.ends + block * ENDS
    return Ends(tl.load(at), tl.load(at + 1), tl.load(at + 2), tl.load(at + 3))


@triton.jit
def load_side(
    head, at, inside, number, whole: tl.constexpr, SIDE: tl.constexpr, flags: tl.constexpr
):
    """Load tokens of the second axis as seen from one side."""
    place = head.across.factors + at
    if SIDE == LATER:
        place += FIELDS * number
    if whole:
        decayed, variance = tl.load(place), tl.load(place + number)
    else:
        decayed = tl.load(place, mask=inside, other=0.0)
        variance = tl.load(place + number, mask=inside, other=1.0)
    influence = variance
    if flags.directions > 0:
        none: tl.constexpr = 0.0 if flags.power >= 0 else LOWEST
        influence = tl.load(place + 2 * number, mask=inside, other=none)
    return Side(decayed, variance, influence)


@triton.jit
def store_side(side, head, at, inside, number, SIDE: tl.constexpr):
    """Write tokens as seen from one side."""
    place = head.across.factors + at
    if SIDE == LATER:
        place += FIELDS * number
    tl.store(place, side.decayed, mask=inside)
    tl.store(place + number, side.variance, mask=inside)
    tl.store(place + 2 * number, side.influence, mask=inside)


@triton.jit
def store_ends(ends, head):
    """Write the ends of the block of a program."""
    at = head.across.ends + head.block * ENDS
    tl.store(at, ends.low)
    tl.store(at + 1, ends.high)
    tl.store(at + 2, ends.past)
    tl.store(at + 3, ends.future)
