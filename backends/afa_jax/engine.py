"""How JAX runs attention over tiles."""

from __future__ import annotations

from typing import Any

from afa_core.streaming.blocks import Sizes
from afa_core.streaming.engine import Engine
from afa_core.streaming.operands import Operands, StaticProblem
from afa_jax.derivatives import stream
from afa_jax.division import divide_alike, vary_over, varying_axes
from afa_jax.streaming import Program, count_tiles
from afa_jax.tiles import tile_grid


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


ENGINE = Engine(_run, Sizes(256, 256), 512, exits=lambda x: True, count_pairs=_count_pairs)
