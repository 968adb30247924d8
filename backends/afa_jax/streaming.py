"""Attention over tiles in JAX: loops that are compiled once, whatever the number of tokens.

Queries and keys are cut into pieces of one size each. Where the tokens do not fill the first piece,
copies of the first token are put before the sequence; they are hidden as keys and dropped as
queries. The backward evaluates the tiles again; `derivatives.py` joins it to the forward.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar, cast

import jax
import jax.numpy as jnp
from jax import lax

from afa_core._array.masks import TokenRange
from afa_core.streaming.backward.forms import BACKWARD
from afa_core.streaming.blocks import KeyBlock, Sizes
from afa_core.streaming.early_exit import (
    RowWeight,
    all_tokens_finite,
    may_leave_out,
    weights_of_result,
    weights_of_sums,
)
from afa_core.streaming.forward.forms import FORMS, Form
from afa_core.streaming.forward.sums import StreamResult
from afa_core.streaming.operands import Operands, StaticProblem, squared_norms
from afa_core.streaming.operations import Operations, standard
from afa_core.streaming.ranges import powers_in_range, powers_known
from afa_core.streaming.tiles import TileContext
from afa_core.streaming.visible import count_nonfinite, flatten_mask, propagate_nan
from afa_jax.division import divide_alike, explicit_heads
from afa_jax.early_exit import EarlyExit
from afa_jax.tiles import cut, tile_grid

XP: Any = jnp
Value = TypeVar("Value")

OPERATIONS: Operations = standard(XP)._replace(
    product=partial(jnp.matmul, precision=lax.Precision.HIGHEST), cut=cut, caches=False
)


class Kernels(NamedTuple):
    """Functions in place of `forward` and `backward`, of which they take the arguments."""

    forward: Callable[..., StreamResult]
    backward: Callable[..., Operands]


class Program(NamedTuple):
    """What a compiled program depends on beside its arrays."""

    fields: tuple[Any, ...]  # of `StaticProblem` up to the heads, without the mask
    sizes: Sizes
    return_precision: bool
    kernels: Kernels | None = None  # that evaluate it and its first derivatives in reverse mode

    @classmethod
    def of(cls, static: StaticProblem, sizes: Sizes, *, return_precision: bool) -> Program:
        """Return the program of a problem, all but its mask."""
        unmasked = static._replace(visibility=static.visibility._replace(mask=None))
        fields = unmasked[: StaticProblem._fields.index("heads")]
        return cls(fields, sizes, return_precision)

    @property
    def static(self) -> StaticProblem:
        """What is known of the problem."""
        return StaticProblem(*self.fields)


def with_powers(
    operands: Operands, static: StaticProblem, function: Callable[[Form], Value]
) -> Value:
    """Apply a function to the tiles of a problem, by integer powers where they are in range."""
    norms = squared_norms(operands, OPERATIONS.norm2)

    def run(*, powers: bool) -> Value:
        context = TileContext(operands, static, norms, OPERATIONS, powers, XP)
        return function(FORMS[static.form](context))

    known = powers_known(static)
    if known is not None:
        return run(powers=known)
    safe = powers_in_range(operands, static, norms, xp=XP)
    return cast(Value, lax.cond(safe, partial(run, powers=True), partial(run, powers=False)))


def by_heads(function: Callable[..., Value], program: Program, mask: Any, *arrays: Any) -> Value:
    """Apply a function to arrays (g, …): to one head after another where early exit may apply.

    Heads that forget at different rates leave out different key blocks. A GPU takes all at once.
    """
    static = program.static
    at_once = jax.default_backend() != "cpu" or explicit_heads(arrays[0].query) is not None
    if at_once or not may_leave_out(static, program.sizes):
        return function(program, mask, *arrays)
    if mask is not None:
        mask = flatten_mask(mask, static, xp=XP)
        mask = jnp.broadcast_to(mask, (arrays[0].query.shape[0], *mask.shape[1:]))
    single = program._replace(fields=(static._replace(leading=(1,)))[: len(program.fields)])

    def of_head(head: Any) -> Any:
        found = function(single, *jax.tree.map(lambda x: x[None], head))
        return jax.tree.map(lambda x: x[0], found)

    return cast(Value, lax.map(of_head, (mask, *arrays)))


@partial(jax.jit, static_argnums=0)
def forward(program: Program, operands: Operands, mask: Any) -> StreamResult:
    """Estimate the state at every query."""
    return by_heads(_forward, program, mask, operands)[0]


@partial(jax.jit, static_argnums=0)
def count_tiles(program: Program, operands: Operands, mask: Any) -> Any:
    """Return how many tiles are visited, for each head, (g,)."""
    return by_heads(_forward, program, mask, operands)[1]


def _forward(program: Program, mask: Any, operands: Operands) -> tuple[StreamResult, Any]:
    static, finite = program.static, XP.isfinite(operands.value)
    all_finite = all_tokens_finite(operands, xp=XP)
    safe = operands._replace(value=XP.where(finite, operands.value, 0.0))
    padded, grid = tile_grid(safe, static, program.sizes, mask)
    rows = grid.rows

    def estimate(tiles: Form) -> tuple[StreamResult, Any]:
        early_exit = EarlyExit(tiles, grid, all_finite)

        def query_block(index: Any) -> tuple[StreamResult, Any]:
            def add(state: Any, block: KeyBlock, visible: Any) -> Any:
                sums, count = state
                return tiles.add(sums, rows.span(index), block, visible), count + 1

            def weights(state: Any) -> list[RowWeight]:
                return weights_of_sums(state[0], tiles)

            sums = tiles.empty_sums(rows.span(index), return_precision=program.return_precision)
            start = divide_alike((sums, 0), operands.query)
            sums, count = early_exit.visit(index, start, add, weights)
            return tiles.result(sums, rows.span(index)), count

        results, counts = lax.map(query_block, jnp.arange(rows.number))
        result = StreamResult(*(rows.joined(x) for x in results))
        return result, jnp.full(result.mean.shape[0], jnp.sum(counts))

    def with_nan(result: StreamResult) -> StreamResult:
        padded_finite = grid.columns.padded(finite)

        def query_block(index: Any) -> Any:
            def add(count: Any, block: KeyBlock, visible: Any) -> Any:
                columns = cut(padded_finite, block.columns)
                return count + count_nonfinite(visible, columns, xp=XP)

            shape = padded_finite.shape[0], rows.size, padded_finite.shape[2]
            none = divide_alike(jnp.zeros(shape, jnp.float32), operands.query)
            return grid.scan_tiles(index, none, add)

        counts = rows.joined(lax.map(query_block, jnp.arange(rows.number)))
        return propagate_nan(result, counts, xp=XP)

    result, counts = with_powers(padded, static, estimate)
    return lax.cond(jnp.all(finite), lambda x: x, with_nan, result), counts


class ArrayGrads:
    """Gradients summed in arrays of the whole sequence."""

    def __init__(self, sums: Operands) -> None:
        self.sums = sums

    def parameter(self, name: str, x: Any) -> None:
        """Add a gradient in a parameter."""
        self.sums = self.sums._replace(**{name: getattr(self.sums, name) + x})

    def tokens(self, name: str, tokens: TokenRange, x: Any) -> None:
        """Add a gradient in a range of tokens."""
        total = getattr(self.sums, name)
        total = lax.dynamic_update_slice_in_dim(total, cut(total, tokens) + x, tokens.start, 1)
        self.sums = self.sums._replace(**{name: total})


@partial(jax.jit, static_argnums=0)
def backward(
    program: Program,
    operands: Operands,
    mask: Any,
    result: StreamResult,
    grad_mean: Any,
    grad_precision: Any,
) -> Operands:
    """Return the gradients in all operands from those in the mean and in the precision."""
    return by_heads(_backward, program, mask, operands, result, grad_mean, grad_precision)


def _backward(
    program: Program,
    mask: Any,
    operands: Operands,
    result: StreamResult,
    grad_mean: Any,
    grad_precision: Any,
) -> Operands:
    static, all_finite = program.static, all_tokens_finite(operands, xp=XP)
    padded, grid = tile_grid(operands, static, program.sizes, mask)
    padded_result = StreamResult(*(grid.rows.padded(x) for x in result))
    zeros = ((0, 0), (grid.rows.copies, 0), (0, 0))
    padded_grads = [jnp.pad(x, zeros) for x in (grad_mean, grad_precision)]

    def gradients(tiles: Form) -> Operands:
        early_exit = EarlyExit(tiles, grid, all_finite)

        def query_block(index: Any, sums: Operands) -> Any:
            rows = grid.rows.span(index)
            block_result = StreamResult(*(cut(x, rows) for x in padded_result))
            block_grads = [cut(x, rows) for x in padded_grads]

            def add(sums: Operands, block: KeyBlock, visible: Any) -> Operands:
                grads = ArrayGrads(sums)
                tiles_backward = BACKWARD[static.form](tiles, grads)
                tiles_backward.query_block(rows, block_result, *block_grads)
                tiles_backward.tile(rows, block, visible)
                tiles_backward.finish()
                return grads.sums

            def weights(_: Operands) -> list[RowWeight]:
                return weights_of_result(block_result, tiles)

            grads = ArrayGrads(sums)
            before_keys = BACKWARD[static.form](tiles, grads)
            before_keys.query_block(rows, block_result, *block_grads)
            before_keys.prior_mean(rows)
            return early_exit.visit(index, grads.sums, add, weights)

        zero = Operands(*(jnp.zeros_like(x) for x in padded))
        found = cast(Operands, lax.fori_loop(0, grid.rows.number, query_block, zero))
        return tiles.token_grads(found)

    return grid.without_copies(with_powers(padded, static, gradients))
