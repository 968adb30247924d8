"""Correlated keys in a window: keys before it are left out, with a bound of the error (spec §14).

All keys up to b have the influence r = e^{C_i − C_b} on query i together. Left out, they change the
estimate by at most 2 max‖v‖ r/(r + Z), where Z = Σ_j a_ij w_ij over the keys that are kept.
"""

from __future__ import annotations

from math import prod

from afa_core._array.arrays import Array, Namespace, device_of, with_rank
from afa_core._checks.problem import Problem
from afa_core.model.weighting import Uniform
from afa_core.reference.prior import influence_of
from afa_core.streaming.engine import Engine
from afa_core.streaming.operands import Operands, StaticProblem
from afa_core.windowed.blocks import (
    Piece,
    before_blocks,
    blocks_for,
    exact_pairs,
    near_blocks,
    visible_keys,
)
from afa_core.windowed.error_bound import far_keys_of, largest_norm
from afa_core.windowed.far_keys import latest_times
from afa_core.windowed.recursion import filter_window


def correlated_mean(
    problem: Problem,
    operands: Operands,
    static: StaticProblem,
    engine: Engine,
    window: int,
    tile: int | None,
    *,
    xp: Namespace,
) -> Array:
    """Return the mean over the keys that are kept, rotated to time zero, (g, n, 2d_v)."""
    means, level = [], _level_at_keys(problem, xp=xp)
    for piece in _pieces(static, window, tile, xp=xp):
        own = piece.of(operands, static, xp=xp)
        if static.weighting is Uniform:
            mean = filter_window(*own, piece.keys(level), xp=xp)
        else:
            mean, _ = exact_pairs(*own, engine, tile, xp=xp)
        means.append(xp.reshape(mean, (operands.query.shape[0], piece.rows, mean.shape[-1])))
    return xp.concat(means, axis=1)


def correlated_bound(
    problem: Problem,
    operands: Operands,
    static: StaticProblem,
    engine: Engine,
    window: int,
    *,
    xp: Namespace,
) -> Array:
    """Return the bound of the error for every head, (g,), whatever the size of blocks."""
    first, far = far_keys_of(static, window)
    latest = latest_times(operands, visible_keys(operands, static, xp=xp), xp=xp)[:, far, :]
    if not latest.shape[1]:
        return xp.zeros_like(operands.decay[:, 0, 0])
    level = _level_at_keys(problem, xp=xp)
    lost = xp.sum(operands.query_level[:, first:, ...] - level[:, far, ...], axis=-2)
    lost = problem.narrow(xp.where(latest == -xp.inf, 0.0, xp.exp(lost)), xp=xp)  # r
    share = lost  # r/(r + Z)
    if static.weighting is not Uniform:
        kept = _kept_weight(operands, static, engine, window, xp=xp)[:, first:, :]
        share = lost / xp.where(lost > 0.0, lost + kept, 1.0)
    largest = largest_norm(operands.value, xp=xp)
    return xp.max(2.0 * largest * share, axis=1)[:, 0]


def _level_at_keys(problem: Problem, *, xp: Namespace) -> Array:
    """Return the terms of C_j at the keys, (g, m, t, 1)."""
    at_keys = problem.timeline(xp=xp)._replace(query_times=problem.key_times)
    (direction,) = influence_of(at_keys, problem.sde, problem.sde.noise, xp=xp).directions
    level = xp.stack(list(direction.query), axis=-2)  # (..., m, t, 1)
    core = level.shape[-3:]
    heads = prod(problem.leading)
    return xp.reshape(xp.broadcast_to(level, (*problem.leading, *core)), (heads, *core))


def _pieces(static: StaticProblem, window: int, tile: int | None, *, xp: Namespace) -> list[Piece]:
    """Return the pieces that have queries, in order, without keys that none of them attends to.

    Without any query it is one piece.
    """
    visibility = static.visibility
    blocks = blocks_for(visibility, window, tile)
    first = max(visibility.keys - visibility.queries - blocks.span, 0)
    pieces = [before_blocks(visibility, blocks, first=first), near_blocks(blocks, xp=xp)]
    return [each for each in pieces if each.rows] or pieces[:1]


def _kept_weight(
    operands: Operands, static: StaticProblem, engine: Engine, window: int, *, xp: Namespace
) -> Array:
    """Return Σ_j a_ij w_ij over the `window` latest keys of every query, (g, n, 1)."""
    totals, static = [], static._replace(tolerance=0.0)
    for piece in _pieces(static, window, None, xp=xp):
        own, cut = piece.of(operands, static, xp=xp)
        cut = _in_window(cut, window, like=operands.query, xp=xp)
        _, total = exact_pairs(own, cut, engine, None, xp=xp)
        totals.append(xp.reshape(total, (operands.query.shape[0], piece.rows, 1)))
    return xp.concat(totals, axis=1)


def _in_window(static: StaticProblem, window: int, *, like: Array, xp: Namespace) -> StaticProblem:
    """Hide the keys before the window of each query."""
    queries, keys, _, mask = static.visibility
    place = xp.arange(keys, dtype=xp.int32, device=device_of(like))
    row = xp.arange(keys - queries, keys, dtype=xp.int32, device=device_of(like))
    near = place[None, :] > row[:, None] - window
    mask = near if mask is None else xp.logical_and(mask, with_rank(near, mask.ndim))
    return static._replace(visibility=static.visibility._replace(mask=mask))
