"""Blocks of queries and keys, which of their pairs are visible, their E, Σ and influence (spec §2).

Where all keys of a tile come before all its queries, or after, exponentials are taken of tokens and
of blocks, not of pairs: by way of the references of both blocks, in between,

    E = e_i E₀ f_j,    Σ = a_i + e_i²(a₀ + E₀² g_j).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl

from afa_jax.pallas.arguments import (
    EARLIER,
    LATER,
    Flags,
    Inputs,
    Model,
    Tokens,
    block_of,
    own_block,
)

LOWEST = -jnp.inf


class Between(NamedTuple):
    """What lies between the references of two blocks: numbers of a tile."""

    lag: Any
    decayed: Any  # E₀
    variance: Any  # a₀
    log_influence: Any


class Tile(NamedTuple):
    """The pairs of a block of queries and a block of keys."""

    queries: Tokens
    keys: Tokens
    visible: Any  # None where all pairs are
    side: int | None  # None beside
    between: Between | None  # on a side
    lags: Any  # Δ of every pair, beside
    decayed: Any  # E
    sigma: Any  # Σ
    influence: Any  # of correlated keys, or its logarithm where weights take one


class Head(NamedTuple):
    """The head of a program, and its own block of tokens."""

    inputs: Inputs  # references
    model: Model
    block: Any
    tokens: Tokens  # the queries of the block, or its keys

    @classmethod
    def of(cls, inputs: Inputs, model: Model, block: Any, flags: Flags) -> Head:
        """Read the block of a program."""
        own = inputs.keys if flags.transposed else inputs.queries
        return cls(inputs, model, block, own_block(own))


def along_queries(x: Any, flags: Flags) -> Any:
    """Return numbers of queries along a tile's axis of queries."""
    return x[None, :] if flags.transposed else x[:, None]


def along_keys(x: Any, flags: Flags) -> Any:
    """Return numbers of keys along a tile's axis of keys."""
    return x[:, None] if flags.transposed else x[None, :]


def product(x: Any, y: Any, flags: Flags, *, across: bool = False) -> Any:
    """Return the product of two matrices, the second transposed if `across`."""
    precision = lax.Precision.HIGHEST if flags.exact else lax.Precision.DEFAULT
    if x.dtype != jnp.float32:
        precision = lax.Precision.DEFAULT
    axes = (((1,), (1 if across else 0,)), ((), ()))
    return lax.dot_general(x, y, axes, precision=precision, preferred_element_type=jnp.float32)


def pair_products(of_queries: Any, of_keys: Any, flags: Flags) -> Any:
    """Return the dot products of tokens of queries and of keys, for every pair of a tile."""
    x, y = (of_keys, of_queries) if flags.transposed else (of_queries, of_keys)
    return product(x, y, flags, across=True)


def unit_variance(decay: Any, lag: Any, decayed: Any) -> Any:
    """Return V/σ² = Δ φ₁(−2μΔ) of lags and their E."""
    x = 2.0 * decay * lag
    series = 1.0 - x * (1.0 / 9.0)
    for k in range(8, 1, -1):
        series = 1.0 - x * (1.0 / k) * series
    small = x < 0.5
    exact = (1.0 - decayed * decayed) / jnp.where(small, 1.0, x)
    return lag * jnp.where(small, series, exact)


def unit_variance_slope(decay: Any, lag: Any, decayed: Any, variance: Any) -> Any:
    """Return the derivative of V/σ² in μ."""
    small = decay * lag < 0.25
    x = jnp.where(small, -2.0 * decay * lag, 0.0)
    series = 1.0 + x * 0.0
    for k in range(10, 0, -1):
        series = 1.0 + (k + 1.0) / (k * (k + 2.0)) * x * series
    exact = (lag * decayed * decayed - variance) / jnp.where(decay > 0.0, decay, 1.0)
    return jnp.where(small, -lag * lag * series, exact)


def between_of(head: Head, other: Any, side: int, flags: Flags) -> Between:
    """Return what lies between the reference of a program's block and that of another."""
    row, column = (other, head.block) if flags.transposed else (head.block, other)
    query, key = head.inputs.query_references, head.inputs.key_references
    at = 4 * side
    lag = (query[row, at] - key[column, at]) + (query[row, at + 1] - key[column, at + 1])
    lag = lag if side == EARLIER else -lag
    decayed = jnp.exp(-head.model.decay * lag)
    variance = head.model.process * unit_variance(head.model.decay, lag, decayed)
    level = None
    if flags.directions:
        level = query[row, at + 2] - key[column, at + 2]
        level = level + (query[row, at + 3] - key[column, at + 3])
    return Between(lag, decayed, variance, level)


def _on_side(tile: Tile, flags: Flags) -> Tile:
    """Return a tile on one side with E, Σ and influence of its pairs."""
    assert tile.side is not None
    assert tile.between is not None
    query, key, by = tile.queries.sides[tile.side], tile.keys.sides[tile.side], tile.between
    e, a, f, g = query.decayed, query.variance, key.decayed, key.variance
    square = e * e
    if flags.transposed:  # numbers of a tile enter those of its rows, of which threads have few
        f, g = f * by.decayed, by.variance + by.decayed * by.decayed * g
    else:
        a = a + square * by.variance
        e, square = e * by.decayed, square * (by.decayed * by.decayed)
    decayed = along_queries(e, flags) * along_keys(f, flags)
    sigma = along_queries(a, flags) + along_queries(square, flags) * along_keys(g, flags)
    influence = None
    if flags.directions and flags.power >= 0:
        both = [query.influence, key.influence]
        both[flags.transposed] = both[flags.transposed] * jnp.exp(by.log_influence)
        influence = along_queries(both[0], flags) * along_keys(both[1], flags)
    elif flags.directions:
        own = query.log_influence + by.log_influence
        influence = along_queries(own, flags) + along_keys(key.log_influence, flags)
    return tile._replace(decayed=decayed, sigma=sigma, influence=influence)


def differences(x: tuple[Any, ...], y: tuple[Any, ...], flags: Flags) -> Any:
    """Return x_i − y_j of numbers of queries and of keys, each the sum of some terms."""
    found = along_queries(x[0], flags) - along_keys(y[0], flags)
    for one, two in zip(x[1:], y[1:], strict=True):
        found = found + (along_queries(one, flags) - along_keys(two, flags))
    return found


def _beside(tile: Tile, model: Model, flags: Flags) -> Tile:
    """Return a tile on neither side with E, Σ and influence of its pairs."""
    queries, keys = tile.queries, tile.keys
    lags = jnp.where(tile.visible, differences(queries.times, keys.times, flags), 0.0)
    size = jnp.abs(lags)
    decayed = jnp.exp(-model.decay * size)
    sigma = model.process * unit_variance(model.decay, size, decayed)
    sigma = sigma + decayed * decayed * model.measurement + along_queries(queries.noise, flags)
    influence = None
    if flags.directions:
        influence = differences(queries.levels[0], keys.levels[0], flags)
        if flags.directions > 1:
            later = differences(queries.levels[1], keys.levels[1], flags)
            influence = jnp.where(lags < 0.0, later, influence)
        if flags.power >= 0:
            influence = jnp.exp(influence)
    return tile._replace(lags=lags, decayed=decayed, sigma=sigma, influence=influence)


def visible_pairs(head: Head, row: Any, column: Any, side: int | None, flags: Flags) -> Any:
    """Return which queries attend to which keys of a tile, None if all do."""
    conditions = []
    rows = row * flags.block_q + jnp.arange(flags.block_q, dtype=jnp.int32)
    columns = column * flags.block_k + jnp.arange(flags.block_k, dtype=jnp.int32)
    if side is None or (side == LATER and flags.keys % flags.block_k):
        exists = along_keys(columns < flags.keys, flags)
        conditions.append(exists & along_queries(rows < flags.queries, flags))
    if side is None and flags.causal:
        last = rows + (flags.keys - flags.queries)
        conditions.append(along_keys(columns, flags) <= along_queries(last, flags))
    if flags.masked:
        conditions.append(_given_mask(head.inputs.mask, row, column, flags))
    visible = None
    for each in conditions:
        visible = each if visible is None else visible & each
    return visible


def _given_mask(mask: Any, row: Any, column: Any, flags: Flags) -> Any:
    """Return the part of a given mask."""
    if flags.transposed:
        if mask.shape[0] == 1:
            return (mask[0, :] != 0)[:, None] & jnp.ones((1, flags.block_q), dtype=bool)
        found = mask[_span(row, flags.block_q), :]
        return found.astype(jnp.float32).T != 0.0
    columns = _span(column, flags.block_k)
    if mask.shape[0] == 1:
        return (mask[0, columns] != 0)[None, :] & jnp.ones((flags.block_q, 1), dtype=bool)
    return mask[:, columns] != 0


def _span(block: Any, size: int) -> Any:
    return pl.ds(block * size, size)


def tile_of(head: Head, other: Any, side: int | None, flags: Flags) -> Tile:
    """Return the pairs of a program's block and of another; `side` says where the keys are."""
    queries, keys = head.tokens, head.tokens
    row, column = (other, head.block) if flags.transposed else (head.block, other)
    if flags.transposed:
        queries = block_of(head.inputs.queries, row * flags.block_q, flags.block_q)
    else:
        keys = block_of(head.inputs.keys, column * flags.block_k, flags.block_k)
    visible = visible_pairs(head, row, column, side, flags)
    between = None if side is None else between_of(head, other, side, flags)
    tile = Tile(queries, keys, visible, side, between, None, None, None, None)
    return _beside(tile, head.model, flags) if side is None else _on_side(tile, flags)


def or_hidden(x: Any, visible: Any, value: float) -> Any:
    """Return numbers of pairs, and a value for hidden ones."""
    return x if visible is None else jnp.where(visible, x, value)
