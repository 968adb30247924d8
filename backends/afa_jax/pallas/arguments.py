"""What kernels take: arrays of all heads, their layout in memory, and what is known at compilation.

Every array of tokens is (g, tokens) or (g, tokens, channels), padded to whole blocks. A kernel gets
references to one head, and reads blocks of them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
from jax.experimental import pallas as pl

EARLIER, LATER = 0, 1
"""Sides of a block of queries; tiles beside it are on neither."""


class Blocks(NamedTuple):
    """Queries and keys of a tile, warps of a program, stages of its loads."""

    queries: int
    keys: int
    warps: int
    stages: int


class Side(NamedTuple):
    """Numbers of tokens relative to the reference of their block, for tiles on one side.

    Of a query decay and variance are those from the reference to the query, of a key those from the
    key to the reference.
    """

    decayed: Any
    variance: Any
    log_influence: Any  # None of independent keys
    influence: Any


class Rows(NamedTuple):
    """What the gradients of a query's weights are computed from."""

    peak: Any
    inverse: Any  # 1/total, 0 of a query that attends to no key
    through: Any  # gradient in a weight that all keys of a query share
    direct: Any  # gradient in Z of weights with a temperature


class Tokens(NamedTuple):
    """Queries or keys; what a problem lacks is None."""

    tokens: Any  # (g, tokens, 2d)
    value: Any  # of keys; of queries the gradient in the estimate
    square: Any  # c‖·‖²
    noise: Any  # γ² of queries
    missing: Any  # log (1 − Σ_j a_ij) of queries
    times: tuple[Any, ...]  # terms in single precision
    levels: tuple[tuple[Any, ...], ...]  # in each direction its terms
    sides: tuple[Side, ...]
    rows: Rows | None = None


class Model(NamedTuple):
    """Parameters of a head."""

    decay: Any
    process: Any
    measurement: Any
    scale: Any  # c
    dof: Any
    inverse_temperature: Any
    unit: Any  # of weights that are powers
    powers: Any  # 1 where powers are within range, else 0
    nonfinite: Any  # 1 where a value is not finite, else 0


class Inputs(NamedTuple):
    """A problem as kernels take it."""

    queries: Tokens
    keys: Tokens
    query_references: (
        Any  # of each block two terms of its time and its level, (g, blocks, sides, 4)
    )
    key_references: Any
    spans: Any  # see `spans`, (g, blocks, 4)
    far: Any  # log of the influence of a key block and those beyond it, (g, directions, blocks, 2)
    mask: Any  # (g or 1, n or 1, m)
    raw: Any  # values that may not be finite
    model: Any  # (g, 9)


class Flags(NamedTuple):
    """What kernels are compiled for."""

    queries: int  # before padding
    keys: int
    block_q: int
    block_k: int
    causal: bool
    masked: bool
    weighting: str
    powers: tuple[int, ...]  # of weights that are integer powers, −1 for heads whose weights take L
    directions: int
    has_temperature: bool
    two_sided: bool
    share: float | None  # logarithm of the share of a row that may be left out
    exact: bool  # whether products of single precision are exact
    power: int = -1  # of the heads that are evaluated
    transposed: bool = False  # whether the first axis of a tile is that of keys

    def blocks(self, *, of_queries: bool) -> int:
        """Return the number of blocks of queries or of keys."""
        if of_queries:
            return -(-self.queries // self.block_q)
        return -(-self.keys // self.block_k)


def whole(arrays: Any) -> Any:
    """Return specifications by which a program gets all of its head."""

    def spec(x: Any) -> Any:
        rest = (0,) * (x.ndim - 1)
        shared = x.shape[0] == 1
        return pl.BlockSpec((None, *x.shape[1:]), lambda h, b: (0 if shared else h, *rest))

    return jax.tree.map(spec, arrays)


def of_block(arrays: Any, size: int, axis: int = 1) -> Any:
    """Return specifications by which a program gets its block of tokens along an axis."""

    def spec(x: Any) -> Any:
        shared = x.shape[0] == 1
        shape = (None, *(size if i == axis else n for i, n in enumerate(x.shape) if i))

        def place(h: Any, b: Any) -> Any:
            return tuple(b if i == axis else 0 if i or shared else h for i in range(x.ndim))

        return pl.BlockSpec(shape, place)

    return jax.tree.map(spec, arrays)


def block_of(refs: Any, start: Any, size: int) -> Any:
    """Read the block of tokens that begins at `start`."""
    return jax.tree.map(lambda ref: ref[pl.ds(start, size)], refs)


def own_block(refs: Any) -> Any:
    """Read the block of tokens of a program."""
    return jax.tree.map(lambda ref: ref[...], refs)


def model_of(ref: Any) -> Model:
    """Read the parameters of a head."""
    return Model(*(ref[i] for i in range(len(Model._fields))))
