"""Blocks of queries of one size, each with the same number of keys before its own (spec §9)."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import NamedTuple

from afa_core._array.arrays import Array, Namespace
from afa_core._array.masks import Visibility
from afa_core.streaming.attention import fit_sizes
from afa_core.streaming.engine import Engine
from afa_core.streaming.operands import KEYS, QUERIES, Operands, StaticProblem
from afa_core.streaming.visible import flatten_mask

MIN_SIZE = 64
"""Queries in a block below which its sums cost more than the pairs that smaller blocks save."""


class WindowBlocks(NamedTuple):
    """`number` blocks of `size` queries, at the end of a sequence.

    The `span` keys before those of a block are near: they are evaluated pair by pair, as its own
    keys are. All earlier keys are far; `first` keys are far from every block.
    """

    size: int
    number: int
    span: int
    first: int

    def cut(self, x: Array, start: int, *, xp: Namespace) -> Array:
        """Return the tokens from `start` on in blocks, (g, number, size, …)."""
        tokens = x[:, start : start + self.number * self.size, ...]
        return xp.reshape(tokens, (x.shape[0], self.number, self.size, *x.shape[2:]))

    def cut_queries(self, x: Array, *, xp: Namespace) -> Array:
        """Return the queries of the blocks, (g, number, size, …)."""
        return self.cut(x, x.shape[1] - self.number * self.size, xp=xp)

    def cut_keys(self, x: Array, *, xp: Namespace) -> Array:
        """Return the near and the own keys of the blocks, (g, number, span + size, …)."""
        starts = range(self.first, self.first + self.span + 1, self.size)
        return xp.concat([self.cut(x, start, xp=xp) for start in starts], axis=2)


class Piece(NamedTuple):
    """Some of the queries of a problem, with the keys that they are evaluated with.

    `queries`, `keys` and `parameter` cut an array (g, tokens, …) or (g, 1, …), and make one head of
    every head and block.
    """

    queries: Callable[[Array], Array]
    keys: Callable[[Array], Array]
    parameter: Callable[[Array], Array]
    blocks: tuple[int, ...]  # axis of blocks after the heads, if there is one
    visibility: Visibility  # without a mask

    @property
    def rows(self) -> int:
        """Number of queries of all blocks."""
        return self.visibility.queries * prod(self.blocks)

    def of(
        self, operands: Operands, static: StaticProblem, *, xp: Namespace
    ) -> tuple[Operands, StaticProblem]:
        """Return the problem of these queries."""
        cut: dict[str, Callable[[Array], Array]] = {
            **dict.fromkeys(QUERIES, self.queries),
            **dict.fromkeys(KEYS, self.keys),
        }
        cut_operands = Operands(
            *(cut.get(name, self.parameter)(x) for name, x in operands._asdict().items())
        )
        leading, mask = static.leading, visible_keys(operands, static, xp=xp)
        if self.blocks:
            leading = (operands.query.shape[0], *self.blocks)
        if mask is not None:
            mask = xp.reshape(self.keys(mask), (*leading, 1, self.visibility.keys))
        visibility = self.visibility._replace(mask=mask)
        return cut_operands, static._replace(leading=leading, visibility=visibility)


def blocks_for(visibility: Visibility, window: int, size: int | None) -> WindowBlocks:
    """Return blocks in which at least the `window` latest keys of every query are near."""
    size = max(MIN_SIZE, (window + 1) // 2) if size is None else size
    span = -(-window // size) * size
    queries, keys = visibility.queries, visibility.keys
    number = max(min((keys - span - 1) // size, queries // size), 0)
    return WindowBlocks(size, number, span, keys - span - number * size)


def before_blocks(visibility: Visibility, blocks: WindowBlocks, *, first: int = 0) -> Piece:
    """Return the queries before all blocks, with the keys from `first` on."""
    tokens = blocks.number * blocks.size
    queries, keys = (each - tokens for each in visibility[:2])
    return Piece(
        queries=lambda x: x[:, :queries, ...],
        keys=lambda x: x[:, first:keys, ...],
        parameter=lambda x: x,
        blocks=(),
        visibility=Visibility(queries, keys - first, causal=True, mask=None),
    )


def near_blocks(blocks: WindowBlocks, *, xp: Namespace) -> Piece:
    """Return the queries of the blocks, every block as a head, with the keys that are near it."""

    def flat(x: Array) -> Array:
        return xp.reshape(x, (x.shape[0] * blocks.number, *x.shape[2:]))

    def parameter(x: Array) -> Array:
        return flat(xp.broadcast_to(x[:, None, ...], (x.shape[0], blocks.number, *x.shape[1:])))

    return Piece(
        queries=lambda x: flat(blocks.cut_queries(x, xp=xp)),
        keys=lambda x: flat(blocks.cut_keys(x, xp=xp)),
        parameter=parameter,
        blocks=(blocks.number,),
        visibility=Visibility(blocks.size, blocks.span + blocks.size, causal=True, mask=None),
    )


def exact_pairs(
    operands: Operands,
    static: StaticProblem,
    engine: Engine,
    tile: int | None,
    *,
    xp: Namespace,
) -> tuple[Array, Array]:
    """Return the mean, and Σ_j w/Σ or, of correlated keys, Σ_j aw, by the library's engine."""
    sizes = fit_sizes(engine, static, tile)
    return engine.run(operands, static, sizes, return_precision=True, xp=xp)


def visible_keys(operands: Operands, static: StaticProblem, *, xp: Namespace) -> Array | None:
    """Return which keys are visible, (g, m, 1), None if all are."""
    mask = static.visibility.mask
    if mask is None:
        return None
    flat = flatten_mask(mask, static, xp=xp)  # (g or 1, 1, m or 1)
    return xp.broadcast_to(xp.matrix_transpose(flat), operands.key_times.shape)
