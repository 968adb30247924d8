"""Attention over tiles in CuPy: few and large tiles, so that few kernels are launched."""

from __future__ import annotations

from math import isqrt, prod
from typing import Any

from afa_core.streaming.blocks import Sizes
from afa_core.streaming.engine import Crossover, Engine, exits
from afa_core.streaming.forward.run import count_pairs, forward
from afa_core.streaming.operands import Operands, StaticProblem
from afa_core.streaming.operations import Operations, standard

MAX_ENTRIES = 1 << 26
"""Of all heads of a tile, of which a few arrays are in memory at once."""


def _read(x: Any) -> Any:
    return x.tolist()


def operations(xp: Any) -> Operations:
    """Return the operations of the array API, with values that can be read."""
    return standard(xp)._replace(read=_read)


def fit(sizes: Sizes, static: StaticProblem) -> Sizes:
    """Return smaller sizes where a tile of all heads would have too many entries."""
    entries = prod(static.leading) * sizes.queries * sizes.keys
    by = isqrt(max(entries - 1, 0) // MAX_ENTRIES) + 1
    return Sizes(*(max(each // by, 1) for each in sizes))


def _run(
    operands: Operands, static: StaticProblem, sizes: Sizes, *, return_precision: bool, xp: Any
) -> tuple[Any, Any]:
    ops = operations(xp)
    result = forward(operands, static, sizes, ops, return_precision=return_precision, xp=xp)
    return result.mean, result.precision


def _count_pairs(
    operands: Operands, static: StaticProblem, sizes: Sizes, *, xp: Any
) -> tuple[Any, int]:
    return count_pairs(operands, static, sizes, operations(xp), xp=xp)


ENGINE = Engine(
    _run,
    Sizes(1024, 4096),
    Crossover(4096, 2896, 4096),
    no_exit=exits,
    count_pairs=_count_pairs,
    heads_together=True,
    fit=fit,
)
