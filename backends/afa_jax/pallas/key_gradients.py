"""Gradients in keys, values and their times: a program for each block of keys."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl

from afa_jax.pallas.arguments import EARLIER, LATER, Flags, Inputs, model_of
from afa_jax.pallas.forward import each_power
from afa_jax.pallas.gradients import (
    SideGradients,
    level_gradients,
    pair_lag_gradients,
    tile_gradients,
)
from afa_jax.pallas.pairs import Head, product, tile_of
from afa_jax.pallas.query_gradients import write


class KeyGradients(NamedTuple):
    """Gradients of keys, (g, m, …)."""

    tokens: Any
    value: Any
    times: Any  # through tiles beside
    levels: tuple[Any, ...]
    sides: tuple[SideGradients, ...]


class Sums(NamedTuple):
    """Gradients of a block of keys so far, and those on the side of the present loop."""

    tokens: Any  # through products
    value: Any
    square: Any
    times: Any
    levels: tuple[Any, ...]
    side: SideGradients


def no_gradients(head: Head, flags: Flags) -> Sums:
    """Return gradients before the first tile."""
    none = jnp.zeros(flags.block_k, jnp.float32)
    keys = head.inputs.keys
    widths = keys.tokens.shape[-1], keys.value.shape[-1]
    tokens, value = (jnp.zeros((flags.block_k, width), jnp.float32) for width in widths)
    return Sums(tokens, value, none, none, (none,) * flags.directions, SideGradients(none, none))


def add_tile(head: Head, side: int | None, flags: Flags, row: Any, found: Sums) -> Sums:
    """Return gradients with those of a block of queries."""
    tile = tile_of(head, row, side, flags)
    by = tile_gradients(head, tile, flags)
    own, queries, outward = by.of_weights, tile.queries.tokens, tile.queries.value
    if side is None:
        lags, _ = pair_lag_gradients(head.model, tile, by)
        found = found._replace(times=found.times - jnp.sum(lags.lag, axis=1))
    else:
        assert tile.between is not None
        e = tile.queries.sides[side].decayed
        square = tile.between.decayed * tile.between.decayed
        by_variance = square * jnp.sum(own.sigma * (e * e)[None, :], axis=1)
        sums = SideGradients(
            found.side.log_decay + jnp.sum(by.log_decay, axis=1), found.side.variance + by_variance
        )
        found = found._replace(side=sums)
    levels = level_gradients(tile, own.log_weight, flags)
    by_square = jnp.sum(tile.decayed * tile.decayed * own.squared, axis=1)
    return found._replace(
        tokens=found.tokens + product(by.product.astype(queries.dtype), queries, flags),
        value=found.value + product(by.shown.astype(outward.dtype), outward, flags),
        square=found.square + by_square,
        levels=tuple(x - y for x, y in zip(found.levels, levels, strict=True)),
    )


def gradients(head: Head, grads: KeyGradients, flags: Flags) -> None:
    """Write the gradients of a block of keys whose weights are of one kind."""
    begin, before, after, end = (head.inputs.spans[head.block, i] for i in range(4))
    found = no_gradients(head, flags)
    none = found.side
    found = lax.fori_loop(before, after, partial(add_tile, head, None, flags), found)
    sides = []
    for side in range(len(head.tokens.sides)):
        span = {EARLIER: (after, end), LATER: (begin, before)}[side]
        found = lax.fori_loop(*span, partial(add_tile, head, side, flags), found)
        sides.append(found.side)
        found = found._replace(side=none)
    square = 2.0 * head.model.scale * found.square[:, None]
    tokens = found.tokens + square * head.tokens.tokens.astype(jnp.float32)
    write(grads, KeyGradients(tokens, found.value, found.times, found.levels, tuple(sides)))


def key_kernel(inputs: Inputs, grads: KeyGradients, *, flags: Flags) -> None:
    """Write the gradients of a block of keys."""
    head = Head.of(inputs, model_of(inputs.model), pl.program_id(1), flags)
    each_power(partial(gradients, head, grads), head.model.powers, flags)
