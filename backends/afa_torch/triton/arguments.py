"""What kernels take: arrays of all heads, sizes, and what is known when they are compiled."""

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl

PARAMETERS = tl.constexpr(8)
"""Numbers of a head, in the order of `Model`."""
FIELDS, ENDS = tl.constexpr(3), tl.constexpr(4)
"""Numbers of a token in `Side`, and of a block in `Ends`; see `sides`."""


class QueryArrays(NamedTuple):
    """Arrays of g heads and n queries; those that a problem lacks are of one element."""

    tokens: Any  # (g, n, 2d)
    square: Any  # c‖q‖², (g, n)
    times: Any  # (g, n), in double precision
    noise: Any  # γ², (g, n), or (g, 1)
    level: Any  # (g, n, directions), in double precision
    missing: Any  # log (1 − Σ_j a_ij), (g, n), in double precision


class KeyArrays(NamedTuple):
    """Arrays of g heads and m keys."""

    tokens: Any  # (g, m, 2d)
    value: Any  # (g, m, 2d_v)
    square: Any  # c‖k‖², (g, m)
    times: Any  # (g, m)
    level: Any  # (g, m, directions)
    far: Any  # logarithm of the influence of this key and all beyond it, but for the query's level


class Across(NamedTuple):
    """What is known of the tokens and blocks of the second axis of tiles; see `sides`."""

    factors: Any  # `Side` of each side, (g, sides, 3, n)
    ends: Any  # `Ends`, (g, blocks, 4), in double precision


class Numbers(NamedTuple):
    """Numbers of tokens, steps between heads and rows, and the share that may be left out."""

    queries: int
    keys: int
    noise_head: int
    noise_row: int
    mask_head: int
    mask_row: int
    share: float  # its logarithm
    splits: int = 1  # into which the keys of few queries are cut, each for a program of its own


class Results(NamedTuple):
    """Results of the forward, which the backward reads."""

    mean: Any  # (g, n, 2d_v)
    precision: Any  # Z, (g, n)
    peak: Any  # what weights are relative to, its logarithm, (g, n)
    total: Any  # the sum of weights, (g, n)
    limits: Any  # first key that is visited, and the one after the last, (g, n, 2)


class Outward(NamedTuple):
    """Gradients in results."""

    mean: Any  # (g, n, 2d_v)
    through: Any  # gradient in a weight that all keys of a query share, (g, n)
    direct: Any  # gradient in Z of has_temperature weights, (g, n)


class Flags(NamedTuple):
    """What kernels are compiled for."""

    width: int  # 2d
    value_width: int  # 2d_v
    padded: int  # the next power of two, at least 16
    value_padded: int
    block_q: int  # queries in a tile
    block_k: int  # keys in a tile
    causal: bool
    regular: bool
    masked: bool
    weighting: int  # see `weights`
    power: int  # p of weights that are integer powers, −1 of others
    directions: int  # in which correlated keys have influence, 0 of independent ones
    has_temperature: bool
    two_sided: bool  # whether the prior's mean has a weight
    exits: bool
    precision: str  # of the products of single-precision tokens
    interpreted: bool  # on a CPU, by an interpreter that multiplies no bfloat16
    transposed: bool  # whether the first axis of a tile is that of keys


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


class Head(NamedTuple):
    """The arrays, parameters and number of the head of a program, and its block of tokens."""

    q: QueryArrays
    k: KeyArrays
    mask: Any
    across: Across
    model: Model
    index: Any
    block: Any
    blocks: Any  # of the first axis of tiles in a head


@triton.jit
def model_of(model, h):
    """Load the parameters of a head."""
    at = model + h * PARAMETERS
    return Model(
        tl.load(at), tl.load(at + 1), tl.load(at + 2), tl.load(at + 3), tl.load(at + 4),
        tl.load(at + 5), tl.load(at + 6), tl.load(at + 7),
    )  # fmt: skip


@triton.jit
def blocks_of(n, flags: tl.constexpr):
    """Return the numbers of blocks of both axes of tiles, and of tokens along the second."""
    query_blocks, key_blocks = tl.cdiv(n.queries, flags.block_q), tl.cdiv(n.keys, flags.block_k)
    first, second, number = query_blocks, key_blocks, n.keys
    if flags.transposed:
        first, second, number = key_blocks, query_blocks, n.queries
    return first, second, number


@triton.jit
def head_at(q, k, mask, across, model, n, h, block, flags: tl.constexpr):
    """Return a head and the number of a block."""
    queries = QueryArrays(
        q.tokens + h * n.queries * flags.width,
        q.square + h * n.queries,
        q.times + h * n.queries,
        q.noise + h * n.noise_head,
        q.level + h * n.queries * flags.directions,
        q.missing + h * n.queries,
    )
    keys = KeyArrays(
        k.tokens + h * n.keys * flags.width,
        k.value + h * n.keys * flags.value_width,
        k.square + h * n.keys,
        k.times + h * n.keys,
        k.level + h * n.keys * flags.directions,
        k.far + h * n.keys * flags.directions,
    )
    blocks, others, number = blocks_of(n, flags)
    sides: tl.constexpr = 1 if flags.causal else 2
    beyond = Across(across.factors + h * sides * FIELDS * number, across.ends + h * others * ENDS)
    mask = mask + h * n.mask_head
    return Head(queries, keys, mask, beyond, model_of(model, h), h, block, blocks)


@triton.jit
def head_of(q, k, mask, across, model, n, flags: tl.constexpr):
    """Return the head and the block of this program, of those in one row, as a grid is long."""
    blocks, _, _ = blocks_of(n, flags)
    h = (tl.program_id(0) // blocks).to(tl.int64)
    return head_at(q, k, mask, across, model, n, h, tl.program_id(0) % blocks, flags)
