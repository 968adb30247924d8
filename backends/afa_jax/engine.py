"""How JAX runs attention over tiles."""

from __future__ import annotations

from math import prod, sqrt
from typing import Any

import jax

from afa_core.streaming.blocks import Sizes
from afa_core.streaming.engine import Crossover, Engine, exits
from afa_core.streaming.operands import Operands, StaticProblem
from afa_jax.derivatives import stream
from afa_jax.division import divide_alike, vary_over, varying_axes
from afa_jax.streaming import Program, count_tiles
from afa_jax.tiles import tile_grid

CACHED_PAIRS = 1 << 17
"""Of all heads, in a tile of which several arrays stay in the cache of a core."""
MIN_TILE = 64


def _divided_alike(operands: Operands, mask: Any) -> tuple[Operands, Any]:
    """Divide all operands among devices as queries are, and vary them along the same axes."""
    axes = varying_axes((operands, mask))
    operands, mask = vary_over((operands, mask), axes)
    return divide_alike(operands, operands.query), mask


def _run(
    operands: Operands, static: StaticProblem, sizes: Sizes, *, return_precision: bool, xp: Any
) -> tuple[Any, Any]:
    program = Program.of(static, sizes, return_precision=return_precision)
    operands, mask = _divided_alike(operands, static.visibility.mask)
    result = stream(program, operands, mask)
    return result.mean, result.precision


def _count_pairs(
    operands: Operands, static: StaticProblem, sizes: Sizes, *, xp: Any
) -> tuple[Any, int]:
    program = Program.of(static, sizes, return_precision=False)
    _, grid = tile_grid(operands, static, sizes, None)
    pairs = grid.rows.size * grid.columns.size
    tiles = count_tiles(program, *_divided_alike(operands, static.visibility.mask))
    return tiles * float(pairs), pairs * grid.tiles()


def _fit(sizes: Sizes, static: StaticProblem) -> Sizes:
    """Return sizes with which a tile of all heads stays in the cache of a core."""
    heads = prod(each for each in static.leading if isinstance(each, int))  # others are symbols
    if static.components > 1 or jax.default_backend() != "cpu":
        return sizes
    size = int(sqrt(CACHED_PAIRS / max(heads, 1)))
    size = max(size // MIN_TILE, 1) * MIN_TILE
    return Sizes(min(sizes.queries, size), min(sizes.keys, size))


ENGINE = Engine(
    _run,
    Sizes(256, 256),
    Crossover(64, 1024, 64),
    no_exit=exits,
    count_pairs=_count_pairs,
    heads_together=True,
    fit=_fit,
)
