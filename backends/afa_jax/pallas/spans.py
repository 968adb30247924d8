"""Which tiles a program visits, and on which side of its block they are.

A key block is on one side of a query block where it and all beyond it come before it in time, or
after it; the others are beside it. Borders never move back from one block to the next, so that the
query blocks on one side of a key block are those up to a border, or from one on.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from afa_jax.pallas.arguments import Flags


class Bounds(NamedTuple):
    """The least and the greatest of some numbers of every block, (g, blocks)."""

    least: Any
    greatest: Any


def in_blocks(x: Any, size: int, value: float) -> Any:
    """Return numbers of tokens by blocks, (g, blocks, size), the last one filled with a value."""
    x = jnp.pad(x, ((0, 0), (0, -x.shape[1] % size)), constant_values=value)
    return x.reshape(x.shape[0], -1, size)


def bounds(x: Any, size: int) -> Bounds:
    """Return the bounds of numbers (g, tokens); NaN is ignored."""
    known = jnp.logical_not(jnp.isnan(x))
    return Bounds(
        jnp.min(in_blocks(jnp.where(known, x, jnp.inf), size, jnp.inf), axis=2),
        jnp.max(in_blocks(jnp.where(known, x, -jnp.inf), size, -jnp.inf), axis=2),
    )


def count_below(borders: Any, x: Any, side: str) -> Any:
    """Return how many of some sorted numbers (g, …) are below others, (g, …)."""
    found = jax.vmap(lambda borders, x: jnp.searchsorted(borders, x, side=side))(borders, x)
    return found.astype(jnp.int32)


def spans_of_queries(times: tuple[Bounds, Bounds] | None, heads: int, flags: Flags) -> Any:
    """Return for each query block the first key block, those beside it from and to, and the end.

    Times are given unless they are the places in the sequence, (g, blocks, 4).
    """
    rows = jnp.arange(flags.blocks(of_queries=True), dtype=jnp.int32) * flags.block_q
    offset, count = flags.keys - flags.queries, flags.blocks(of_queries=False)
    first = jnp.clip(rows + offset, 0, flags.keys)
    last = jnp.clip(jnp.minimum(rows + flags.block_q, flags.queries) + offset, 0, flags.keys)
    before, after = first // flags.block_k, -(-last // flags.block_k)
    end = after if flags.causal else jnp.full_like(after, count)
    one_sided = flags.causal or flags.directions == 1
    after = end if one_sided else after
    before, after, end = (jnp.broadcast_to(x, (heads, x.size)) for x in (before, after, end))
    if times is not None:
        query, key = times
        earlier = count_below(lax.cummax(key.greatest, axis=1), query.least, "left")
        before = lax.cummin(jnp.minimum(earlier, before), axis=1, reverse=True)
        if not one_sided:
            least = lax.cummin(key.least, axis=1, reverse=True)
            later = count_below(least, query.greatest, "right")
            after = lax.cummax(jnp.maximum(later, after), axis=1)
    return jnp.stack([jnp.zeros_like(end), before, after, end], axis=-1)


def within_limits(spans: Any, far: Any, slack: Any, flags: Flags) -> Any:
    """Return spans without the key blocks that early exit leaves out.

    `slack` is the share of each query block in a logarithm less the levels of its queries,
    (g, blocks, directions).
    """
    start, before, after, end = (spans[..., i] for i in range(4))
    earlier = count_below(far[..., 0], slack[..., 0], "right")
    start = lax.cummin(jnp.minimum(earlier, before), axis=1, reverse=True)
    if flags.directions > 1:
        later = far.shape[1] - count_below(far[:, ::-1, 1], slack[..., 1], "right")
        end = lax.cummax(jnp.maximum(later, after), axis=1)
    return jnp.stack([start, before, after, end], axis=-1)


def spans_of_keys(spans: Any, flags: Flags) -> Any:
    """Return for each key block the first query block, those beside it from and to, and the end."""
    places = jnp.arange(flags.blocks(of_queries=False), dtype=jnp.int32)
    places = jnp.broadcast_to(places, (spans.shape[0], places.size))
    start, before, after, end = (count_below(spans[..., i], places, "right") for i in range(4))
    return jnp.stack([end, after, before, start], axis=-1)
