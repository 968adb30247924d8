"""The forward: a program for each block of queries."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl

from afa_jax.pallas.arguments import EARLIER, LATER, Flags, Inputs, model_of
from afa_jax.pallas.pairs import (
    LOWEST,
    Head,
    Tile,
    or_hidden,
    pair_products,
    product,
    tile_of,
    visible_pairs,
)
from afa_jax.pallas.weights import (
    log_or_lowest,
    log_weights,
    power_weights,
    squared_residuals,
)

CHUNK = 8
"""Tiles between two looks at whether the rest may be left out."""


class Results(NamedTuple):
    """Results of the forward, which the backward reads."""

    mean: Any  # (g, n, 2d_v)
    precision: Any  # Z, (g, n)
    peak: Any  # what weights are relative to, its logarithm, (g, n)
    total: Any  # the sum of weights, (g, n)
    visited: Any  # the first tile, and the one after the last, (g, blocks, 2)


class Sums(NamedTuple):
    """Sums over keys, relative to exp(peak)."""

    carried: Any  # of weights times E ṽ
    peak: Any
    total: Any
    untempered_peak: Any  # of weights with β = 1
    untempered: Any


def prior_sums(head: Head, flags: Flags) -> Sums:
    """Return the sums over no key but the prior's mean, which is zero."""
    size, width = flags.block_q, head.inputs.keys.value.shape[-1]
    lowest, none = jnp.full(size, LOWEST, jnp.float32), jnp.zeros(size, jnp.float32)
    carried = jnp.zeros((size, width), jnp.float32)
    sums = Sums(carried, lowest, none, lowest, none)
    if flags.two_sided:
        absent = head.tokens.missing
        there = absent > LOWEST
        peak = jnp.where(there, absent * head.model.inverse_temperature, LOWEST)
        total = there.astype(jnp.float32)
        sums = Sums(carried, peak, total, absent, total)
    if flags.power >= 0:
        total = sums.total * jnp.exp(jnp.where(sums.peak > LOWEST, sums.peak, 0.0))
        sums = sums._replace(peak=none, total=total)
    return sums


def add_logits(logit: Any, peak: Any, total: Any) -> tuple[Any, Any, Any, Any]:
    """Return weights relative to the new peak, what shrinks earlier sums, and the new sums."""
    higher = jnp.maximum(peak, jnp.max(logit, axis=1))
    shift = jnp.where(higher > LOWEST, higher, 0.0)
    weights = jnp.exp(logit - shift[:, None])
    shrink = jnp.exp(peak - shift)
    return weights, shrink, higher, total * shrink + jnp.sum(weights, axis=1)


def add_weights(sums: Sums, head: Head, tile: Tile, squared: Any, flags: Flags) -> Any:
    """Return the weights of a tile, and sums with them."""
    if flags.power >= 0:
        weights, _ = power_weights(head.model, tile, squared, flags)
        return weights, sums._replace(total=sums.total + jnp.sum(weights, axis=1))
    logit = log_weights(head.model, tile, squared / tile.sigma, flags)
    logit = or_hidden(logit, tile.visible, LOWEST)
    if flags.has_temperature:
        _, _, peak, total = add_logits(logit, sums.untempered_peak, sums.untempered)
        sums = sums._replace(untempered_peak=peak, untempered=total)
        logit = or_hidden(head.model.inverse_temperature * logit, tile.visible, LOWEST)
    weights, shrink, peak, total = add_logits(logit, sums.peak, sums.total)
    carried = sums.carried * shrink[:, None]
    return weights, sums._replace(carried=carried, peak=peak, total=total)


def add_tile(head: Head, side: int | None, flags: Flags, column: Any, sums: Sums) -> Sums:
    """Return the sums with the keys of a tile."""
    tile = tile_of(head, column, side, flags)
    products = pair_products(head.tokens.tokens, tile.keys.tokens, flags)
    squared = squared_residuals(head.model, tile, products, flags)
    weights, sums = add_weights(sums, head, tile, squared, flags)
    shown = or_hidden(weights * tile.decayed, tile.visible, 0.0)
    value = tile.keys.value
    return sums._replace(carried=sums.carried + product(shown.astype(value.dtype), value, flags))


def needed(sums: Sums, head: Head, side: int, low: Any, high: Any, flags: Flags) -> Any:
    """Return the first tile that is needed of those before a block, or that after the last behind.

    Tiles beyond it have at most the share of the weight of every query.
    """
    assert flags.share is not None
    own = head.tokens.sides[side].log_influence - (sums.peak + log_or_lowest(sums.total))
    rows = head.block * flags.block_q + jnp.arange(flags.block_q, dtype=jnp.int32)
    most = jnp.max(jnp.where(rows < flags.queries, own, LOWEST))
    reference = [head.inputs.query_references[head.block, 4 * side + i] for i in (2, 3)]

    def negligible(tile: Any) -> Any:
        far = [head.inputs.far[tile, 2 * side + i] for i in (0, 1)]
        return most + (reference[0] + far[0]) + (reference[1] + far[1]) <= flags.share

    def narrow(span: Any) -> Any:
        low, high = span
        if side == EARLIER:
            middle = (low + high + 1) // 2
            out = negligible(middle - 1)
            return jnp.where(out, middle, low), jnp.where(out, high, middle - 1)
        middle = (low + high) // 2
        out = negligible(middle)
        return jnp.where(out, low, middle + 1), jnp.where(out, middle, high)

    return lax.while_loop(lambda span: span[0] < span[1], narrow, (low, high))[0]


def _while_needed(
    sums: Sums, head: Head, side: int, near: Any, far: Any, add: Callable[..., Any], flags: Flags
) -> Any:
    """Return the sums with the tiles from the nearest on, and the border of those visited."""
    zero = jnp.zeros_like(near)

    def border(sums: Sums, near: Any) -> Any:
        low, high = (zero, near) if side == EARLIER else (near, far)
        return needed(sums, head, side, low, high, flags)

    def visit(state: Any) -> Any:
        sums, near, last = state
        if side == EARLIER:
            after = jnp.maximum(last, near - CHUNK)
            sums = lax.fori_loop(after, near, add, sums)
        else:
            after = jnp.minimum(last, near + CHUNK)
            sums = lax.fori_loop(near, after, add, sums)
        return sums, after, border(sums, after)

    start = sums, near, border(sums, near)
    return lax.while_loop(lambda state: state[1] != state[2], visit, start)[:2]


def add_side(sums: Sums, head: Head, side: int, flags: Flags) -> tuple[Sums, Any]:
    """Return the sums with the tiles on one side, and the border of those visited."""
    spans, add = head.inputs.spans, partial(add_tile, head, side, flags)
    first, before, after, last = (spans[head.block, i] for i in range(4))
    near, far = (before, first) if side == EARLIER else (after, last)
    if flags.share is not None:
        found: tuple[Sums, Any] = _while_needed(sums, head, side, near, far, add, flags)
        return found
    span = (far, near) if side == EARLIER else (near, far)
    return lax.fori_loop(*span, add, sums), far


def with_nan(carried: Any, head: Head, flags: Flags) -> Any:
    """Set an estimate to NaN where a visible value is not finite."""
    spans = head.inputs.spans
    last = jnp.where(head.model.nonfinite > 0.0, spans[head.block, 3], 0)

    def add(column: Any, seen: Any) -> Any:
        visible = visible_pairs(head, head.block, column, None, flags)
        value = head.inputs.raw[pl.ds(column * flags.block_k, flags.block_k)].astype(jnp.float32)
        nonfinite = jnp.where(value - value == 0.0, 0.0, 1.0).astype(jnp.float16)
        return seen + product(visible.astype(jnp.float16), nonfinite, flags)

    seen = lax.fori_loop(0, last, add, jnp.zeros_like(carried))
    return jnp.where(seen > 0.0, jnp.nan, carried)


def store_results(sums: Sums, head: Head, results: Results, flags: Flags) -> None:
    """Write the estimates of a block of queries, and what the backward needs."""
    total = sums.total
    carried = with_nan(sums.carried, head, flags)
    results.mean[...] = carried / jnp.where(total == 0.0, 1.0, total)[:, None]
    if flags.power >= 0:
        precision = total if flags.directions else total / head.model.unit
    elif flags.has_temperature:
        precision = sums.untempered * jnp.exp(sums.untempered_peak)
        precision = jnp.where(sums.untempered == 0.0, 0.0, precision)
    else:
        precision = jnp.where(total == 0.0, 0.0, total * jnp.exp(sums.peak))
    results.precision[...] = precision
    results.peak[...] = sums.peak
    results.total[...] = total


def estimate(head: Head, results: Results, flags: Flags) -> None:
    """Write the results of a block of queries whose weights are of one kind."""
    spans, block = head.inputs.spans, head.block
    before, after = spans[block, 1], spans[block, 2]
    sums = prior_sums(head, flags)
    sums = lax.fori_loop(before, after, partial(add_tile, head, None, flags), sums)
    sums, start = add_side(sums, head, EARLIER, flags)
    stop = after
    if not flags.causal:
        sums, stop = add_side(sums, head, LATER, flags)
    store_results(sums, head, results, flags)
    results.visited[0] = start
    results.visited[1] = stop


def each_power(run: Callable[[Flags], None], powers: Any, flags: Flags) -> None:
    """Run a kernel for the kind of weights of a head."""
    if len(flags.powers) == 1:
        run(flags._replace(power=flags.powers[0]))
        return
    for power in flags.powers:
        matches = (powers > 0.0) if power >= 0 else jnp.logical_not(powers > 0.0)
        pl.when(matches)(partial(run, flags._replace(power=power)))


def forward_kernel(inputs: Inputs, results: Results, *, flags: Flags) -> None:
    """Write the results of a block of queries."""
    head = Head.of(inputs, model_of(inputs.model), pl.program_id(1), flags)
    each_power(partial(estimate, head, results), head.model.powers, flags)
