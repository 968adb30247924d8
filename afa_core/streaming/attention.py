"""Attention over tiles of keys: the results of the reference in O(n + m) memory (spec §9)."""

from __future__ import annotations

from typing import Any

from afa_core._array.arrays import Array, Namespace
from afa_core._array.pairs import add, project, subtract, unpack
from afa_core._checks.problem import Problem
from afa_core.model.sde import DiagonalSDE, RadialTangential, RadialTangentialSDE
from afa_core.streaming.blocks import Sizes, divided
from afa_core.streaming.engine import Engine
from afa_core.streaming.operands import Fixed, Operands, operands, order_of, sets_of
from afa_core.streaming.phases import Phases, phases_of
from afa_core.windowed.far_keys import windowed

LEAST = 256
"""Queries in a panel below which its overhead outweighs what smaller panels save."""


def few_pairs(p: Problem, tokens: int) -> str:
    """Return why so few pairs are not for tiles, or an empty string; a pair counts its sets."""
    sets = sets_of(type(p.sde), p.modes)
    if p.visibility.queries * p.visibility.keys * sets >= tokens**2:
        return ""
    least = f"{tokens}²" if sets == 1 else f"{tokens}²/{sets}"
    return f"for fewer pairs than {least} the reference is faster."


def stream(
    p: Problem, engine: Engine, tile: int | None, *, precise: bool, xp: Namespace
) -> tuple[Array, Any]:
    """Return the mean, packed as the problem is, and the precision."""
    by = phases_of(p, xp=xp)
    o, fixed = operands(p, by, engine.turn, xp=xp)
    sizes = _fitting(engine.sizes, fixed, tile)
    mean, precision = engine.run(o, fixed, sizes, precise=precise, xp=xp)
    precision, width = xp.reshape(precision, (*p.leading, *precision.shape[1:])), o.value.shape[-1]

    def forward(estimate: Array) -> Array:
        return _forward(estimate, p, by, engine, xp=xp)

    if not isinstance(p.sde, RadialTangentialSDE):
        own = precision if isinstance(p.sde, DiagonalSDE) else precision[..., 0]
        return forward(mean), own
    assert p.anchor is not None
    both = (forward(each) for each in (mean[..., :width], mean[..., width:]))
    radial, tangential = (unpack(each, p.order) for each in both)
    along = project(subtract(radial, tangential), p.anchor, xp=xp)
    whole = p.pack(add(tangential, along), xp=xp)
    return whole, RadialTangential(precision[..., 0], precision[..., 1])


def stream_windowed(
    p: Problem, engine: Engine, window: int, tile: int | None, *, xp: Namespace
) -> Array:
    """Return the packed mean, with the keys before a window by their first order in E."""
    by = phases_of(p, xp=xp)
    o, fixed = operands(p, by, engine.turn, xp=xp)

    def run(own: Operands, its: Fixed) -> tuple[Array, Array]:
        sizes = _fitting(engine.sizes, its, tile)
        return engine.run(own, its, sizes, precise=True, xp=xp)

    return _forward(windowed(o, fixed, window, tile, run, xp=xp), p, by, engine, xp=xp)


def _forward(mean: Array, p: Problem, by: Phases, engine: Engine, *, xp: Namespace) -> Array:
    """Turn estimates (g, n, 2d_v) forward to the times of their queries."""
    shaped = xp.reshape(mean, (*p.leading, *mean.shape[1:]))
    return engine.turn(shaped, by.estimate, order_of(p), p.order, xp=xp)


def _fitting(sizes: Sizes, fixed: Fixed, tile: int | None) -> Sizes:
    """Return sizes that were asked for, or of at least two panels.

    Half the pairs above the diagonal are then left out.
    """
    if tile is not None:
        return Sizes(tile, 2 * tile)
    queries = max(LEAST, min(sizes.queries, fixed.visibility.queries // 2))
    return divided(sizes._replace(queries=queries), fixed.sets)
