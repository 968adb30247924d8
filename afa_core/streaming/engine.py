"""How a library runs tiles: the loop over them, what it may write over, how it differentiates."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from afa_core._array.arrays import Array, Namespace
from afa_core._array.pairs import turned
from afa_core.streaming.blocks import Sizes
from afa_core.streaming.forward.run import forward
from afa_core.streaming.operands import Fixed, Operands
from afa_core.streaming.operations import standard
from afa_core.streaming.phases import Turn


class Engine(NamedTuple):
    """How a library runs tiles.

    Parameters
    ----------
    run : callable
        ``run(operands, fixed, sizes, precise=…, xp=…)``: the mean (g, n, 2d_v), turned back to
        time zero, radial and tangential one after the other, and the precision (g, n, s), both
        differentiable where the library is.
    sizes : Sizes
        The sizes of tiles that are good for it.
    tokens : int
        The geometric mean of n and m from which on tiles are faster than the reference in the
        isotropic form, where a pair has one set of weights.
    turn : callable
        `pairs.turned`, or the same in fewer passes over memory.
    """

    run: Callable[..., tuple[Array, Array]]
    sizes: Sizes
    tokens: int
    turn: Turn = turned


def _run(
    o: Operands, fixed: Fixed, sizes: Sizes, *, precise: bool, xp: Namespace
) -> tuple[Array, Array]:
    result = forward(o, fixed, sizes, standard(xp), precise=precise, xp=xp)
    return result.mean, result.precision


STANDARD = Engine(_run, Sizes(256, 1024), 512)
"""The operations of the array API, one after another, for libraries of which nothing is known."""
