"""Attention over tiles of keys: the results of the reference in O(n + m) memory (spec §9)."""

from __future__ import annotations

from typing import Any

from afa_core.arrays import Array, Namespace
from afa_core.pairs import Pair, add, angle, project, rotate, subtract, unpack
from afa_core.problem import Problem
from afa_core.sde import DiagonalSDE, RadialTangential, RadialTangentialSDE
from afa_core.streaming.engine import STANDARD, Engine
from afa_core.streaming.operands import operands, sets_of, value_frequency
from afa_core.streaming.schedule import Sizes, divided

__all__ = ["STANDARD", "Engine", "Sizes", "few_pairs", "stream"]


def few_pairs(p: Problem, tokens: int) -> str:
    """Return why so few pairs are not for tiles, or an empty string; a pair counts its sets."""
    sets = sets_of(type(p.sde), p.modes)
    if p.visibility.queries * p.visibility.keys * sets >= tokens**2:
        return ""
    least = f"{tokens}²" if sets == 1 else f"{tokens}²/{sets}"
    return f"for fewer pairs than {least} the reference is faster."


def stream(
    p: Problem, engine: Engine, tile: int | None, *, precise: bool, xp: Namespace
) -> tuple[Pair, Any]:
    """Return the mean in pairs, and the precision."""
    o, fixed = operands(p, xp=xp)
    sizes = divided(engine.sizes, fixed.sets) if tile is None else Sizes(tile, 2 * tile)
    mean, precision = engine.run(o, fixed, sizes, precise=precise, xp=xp)
    mean, precision = (xp.reshape(x, (*p.leading, *x.shape[1:])) for x in (mean, precision))
    turn, width = angle(value_frequency(p.sde), p.query_times), o.value.shape[-1]

    def forward(estimate: Array) -> Pair:
        return rotate(unpack(estimate), turn, xp=xp)

    if not isinstance(p.sde, RadialTangentialSDE):
        own = precision if isinstance(p.sde, DiagonalSDE) else precision[..., 0]
        return forward(mean), own
    assert p.anchor is not None
    radial, tangential = forward(mean[..., :width]), forward(mean[..., width:])
    along = project(subtract(radial, tangential), p.anchor, xp=xp)
    return add(tangential, along), RadialTangential(precision[..., 0], precision[..., 1])
