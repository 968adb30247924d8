"""Attention over tiles of keys: the results of the reference in O(n + m) memory (spec §9)."""

from __future__ import annotations

from typing import Any

from afa_core.arrays import Namespace
from afa_core.pairs import Pair, angle, rotate, unpack
from afa_core.problem import Problem
from afa_core.streaming.engine import STANDARD, Engine
from afa_core.streaming.forms import FORMS
from afa_core.streaming.operands import operands
from afa_core.streaming.schedule import Sizes

LEAST = 64
"""Queries in a panel below which its overhead outweighs what smaller panels save."""

__all__ = ["STANDARD", "Engine", "Sizes", "refusal", "stream"]


def refusal(p: Problem, xp: Namespace) -> str:
    """Return why a problem cannot be run over tiles, or an empty string."""
    if type(p.sde) not in FORMS:
        return f"it streams IsotropicSDE only, got {type(p.sde).__name__}."
    return ""


def stream(
    p: Problem, engine: Engine, tile: int | None, *, precise: bool, xp: Namespace
) -> tuple[Pair, Any]:
    """Return the mean in pairs, and the precision."""
    o, fixed = operands(p, xp=xp)
    sizes = engine.sizes if tile is None else Sizes(tile, 2 * tile)
    if tile is None:  # at least two panels, so that half the pairs above the diagonal are left out
        sizes = sizes._replace(queries=max(LEAST, min(sizes.queries, p.visibility.queries // 2)))
    mean, precision = engine.run(o, fixed, sizes, precise=precise, xp=xp)
    mean = xp.reshape(mean, (*p.leading, *mean.shape[1:]))
    turn = angle(p.sde.value_frequency, p.query_times)
    rotated = rotate(unpack(mean), turn, xp=xp)
    return rotated, xp.reshape(precision, (*p.leading, precision.shape[-2]))
