"""Blocks of queries of one size, each with the same number of keys before its own (spec §9)."""

from __future__ import annotations

from typing import NamedTuple

from afa_core._array.arrays import Array, Namespace
from afa_core._array.masks import Visibility
from afa_core.streaming.operands import KEYS, QUERIES, Operands, StaticProblem

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
        """Return the tokens from `start` on in blocks, (g, number, size, width)."""
        tokens = x[:, start : start + self.number * self.size, :]
        return xp.reshape(tokens, (x.shape[0], self.number, self.size, x.shape[-1]))

    def cut_queries(self, x: Array, *, xp: Namespace) -> Array:
        """Return the queries of the blocks, (g, number, size, width)."""
        return self.cut(x, x.shape[1] - self.number * self.size, xp=xp)


def blocks_for(visibility: Visibility, window: int, size: int | None) -> WindowBlocks:
    """Return blocks in which at least the `window` latest keys of every query are near."""
    size = max(MIN_SIZE, (window + 1) // 2) if size is None else size
    span = -(-window // size) * size
    queries, keys = visibility.queries, visibility.keys
    number = max(min((keys - span - 1) // size, queries // size), 0)
    return WindowBlocks(size, number, span, keys - span - number * size)


def before_blocks(
    operands: Operands, static: StaticProblem, blocks: WindowBlocks
) -> tuple[Operands, StaticProblem]:
    """Return the problem of the queries before all blocks."""
    tokens = blocks.number * blocks.size
    queries, keys = (each - tokens for each in static.visibility[:2])
    own = operands._replace(
        **{name: getattr(operands, name)[:, :queries, :] for name in QUERIES},
        **{name: getattr(operands, name)[:, :keys, :] for name in KEYS},
    )
    return own, static._replace(visibility=Visibility(queries, keys, causal=True, mask=None))


def near_keys_of_blocks(
    operands: Operands, static: StaticProblem, blocks: WindowBlocks, *, xp: Namespace
) -> tuple[Operands, StaticProblem]:
    """Return the problem in which every block is a head, with the keys that are near it."""
    heads, (size, number, span, first) = operands.query.shape[0], blocks

    def flat(x: Array) -> Array:
        return xp.reshape(x, (heads * number, *x.shape[2:]))

    def queries(x: Array) -> Array:
        return flat(blocks.cut_queries(x, xp=xp))

    def keys(x: Array) -> Array:
        starts = range(first, first + span + 1, size)
        return flat(xp.concat([blocks.cut(x, start, xp=xp) for start in starts], axis=2))

    def parameter(x: Array) -> Array:
        return flat(xp.broadcast_to(x[:, None, ...], (heads, number, *x.shape[1:])))

    cut = dict.fromkeys(QUERIES, queries) | dict.fromkeys(KEYS, keys)
    own = Operands(*(cut.get(name, parameter)(x) for name, x in operands._asdict().items()))
    visibility = Visibility(size, span + size, causal=True, mask=None)
    return own, static._replace(leading=(heads, number), visibility=visibility)
