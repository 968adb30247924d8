"""Gradients in queries and in parameters: a program for each block of queries."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl

from afa_jax.pallas.arguments import EARLIER, LATER, Flags, Inputs, Model, model_of
from afa_jax.pallas.forward import each_power
from afa_jax.pallas.gradients import (
    SideGradients,
    TileGradients,
    level_gradients,
    pair_lag_gradients,
    tile_gradients,
)
from afa_jax.pallas.pairs import Head, Tile, product, tile_of, unit_variance, unit_variance_slope


class ParameterGradients(NamedTuple):
    """The share of every query in the gradients of parameters, None of those that are numbers."""

    decay: Any
    process: Any
    measurement: Any
    dof: Any
    inverse_temperature: Any


class QueryGradients(NamedTuple):
    """Gradients of queries, (g, n, …)."""

    tokens: Any
    noise: Any  # through tiles beside
    times: Any  # through tiles beside
    levels: tuple[Any, ...]
    sides: tuple[SideGradients, ...]
    parameters: ParameterGradients


class Sums(NamedTuple):
    """Gradients of a block of queries so far, and those on the side of the present loop."""

    tokens: Any  # through products
    square: Any
    noise: Any
    times: Any
    levels: tuple[Any, ...]
    parameters: ParameterGradients
    side: SideGradients


def no_gradients(head: Head, flags: Flags) -> Sums:
    """Return gradients before the first tile."""
    none = jnp.zeros(flags.block_q, jnp.float32)
    width = head.inputs.queries.tokens.shape[-1]
    has_dof = flags.power == 1 or (flags.power < 0 and flags.weighting in ("Rational", "StudentT"))
    parameters = ParameterGradients(
        none, none, none, none if has_dof else None, none if flags.has_temperature else None
    )
    tokens = jnp.zeros((flags.block_q, width), jnp.float32)
    levels = (none,) * flags.directions
    return Sums(tokens, none, none, none, levels, parameters, SideGradients(none, none))


def through_block(
    found: ParameterGradients, side: SideGradients, tile: Tile, model: Model,
    by_variance: Any, by_log: Any,
) -> tuple[ParameterGradients, SideGradients]:  # fmt: skip
    """Return gradients with those of a tile on one side.

    Given the sums over keys of gradients in Σ, of these times E₀² g, and of those in log E.
    """
    assert tile.side is not None
    assert tile.between is not None
    own, by = tile.queries.sides[tile.side].decayed, tile.between
    square = own * own
    total, carried = by_variance
    log_between = by_log + 2.0 * square * carried
    log_own = log_between + 2.0 * square * by.variance * total
    between = square * total
    variance = unit_variance(model.decay, by.lag, by.decayed)
    slope = unit_variance_slope(model.decay, by.lag, by.decayed, variance)
    found = found._replace(
        decay=found.decay + (model.process * slope * between - by.lag * log_between),
        process=found.process + variance * between,
    )
    return found, SideGradients(side.log_decay + log_own, side.variance + total)


def add_lags(found: Sums, model: Model, tile: Tile, by: TileGradients) -> Sums:
    """Return gradients with those of a tile through its lags."""
    grad_sigma, parameters = by.of_weights.sigma, found.parameters
    total = jnp.sum(grad_sigma, axis=1)
    if tile.side is not None:
        assert tile.between is not None
        square = tile.between.decayed * tile.between.decayed
        variance = tile.keys.sides[tile.side].variance
        carried = square * jnp.sum(grad_sigma * variance[None, :], axis=1)
        by_log = jnp.sum(by.log_decay, axis=1)
        parameters, side = through_block(
            parameters, found.side, tile, model, (total, carried), by_log
        )
        return found._replace(parameters=parameters, side=side)
    lags, measured = pair_lag_gradients(model, tile, by)
    parameters = parameters._replace(
        decay=parameters.decay + jnp.sum(lags.decay, axis=1),
        process=parameters.process + jnp.sum(lags.process, axis=1),
        measurement=parameters.measurement + jnp.sum(measured, axis=1),
    )
    times = found.times + jnp.sum(lags.lag, axis=1)
    return found._replace(parameters=parameters, noise=found.noise + total, times=times)


def add_tile(head: Head, side: int | None, flags: Flags, column: Any, found: Sums) -> Sums:
    """Return gradients with those of the keys of a tile."""
    tile = tile_of(head, column, side, flags)
    by = tile_gradients(head, tile, flags)
    own, keys = by.of_weights, tile.keys.tokens
    found = add_lags(found, head.model, tile, by)
    parameters = found.parameters
    if own.dof is not None:
        parameters = parameters._replace(dof=parameters.dof + jnp.sum(own.dof, axis=1))
    if own.inverse_temperature is not None:
        by_beta = parameters.inverse_temperature + jnp.sum(own.inverse_temperature, axis=1)
        parameters = parameters._replace(inverse_temperature=by_beta)
    levels = level_gradients(tile, own.log_weight, flags)
    return found._replace(
        tokens=found.tokens + product(by.product.astype(keys.dtype), keys, flags),
        square=found.square + jnp.sum(own.squared, axis=1),
        levels=tuple(x + y for x, y in zip(found.levels, levels, strict=True)),
        parameters=parameters,
    )


def write(refs: Any, arrays: Any) -> None:
    """Write arrays, zero where a kind of weights has none."""

    def to(ref: Any, x: Any) -> None:
        if ref is not None:
            ref[...] = jnp.zeros(ref.shape, ref.dtype) if x is None else x.astype(ref.dtype)

    jax.tree.map(to, refs, arrays, is_leaf=lambda x: x is None)


def gradients(head: Head, grads: QueryGradients, flags: Flags) -> None:
    """Write the gradients of a block of queries whose weights are of one kind."""
    spans = [head.inputs.spans[head.block, i] for i in range(4)]
    start, before, after, end = spans
    found = no_gradients(head, flags)
    none = found.side
    found = lax.fori_loop(before, after, partial(add_tile, head, None, flags), found)
    sides = []
    for side in range(len(head.tokens.sides)):
        span = {EARLIER: (start, before), LATER: (after, end)}[side]
        found = lax.fori_loop(*span, partial(add_tile, head, side, flags), found)
        sides.append(found.side)
        found = found._replace(side=none)
    square = 2.0 * head.model.scale * found.square[:, None]
    tokens = found.tokens + square * head.tokens.tokens.astype(jnp.float32)
    given = tokens, found.noise, found.times, found.levels, tuple(sides), found.parameters
    write(grads, QueryGradients(*given))


def query_kernel(inputs: Inputs, grads: QueryGradients, *, flags: Flags) -> None:
    """Write the gradients of a block of queries."""
    head = Head.of(inputs, model_of(inputs.model), pl.program_id(1), flags)
    each_power(partial(gradients, head, grads), head.model.powers, flags)
