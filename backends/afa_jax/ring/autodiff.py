"""Ring attention as one differentiable operation: its forward and its backward pass (spec §9)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar, cast

import jax
import jax.numpy as jnp
from jax import lax

from afa_core.distributed.results import combine_tile
from afa_core.distributed.ring import (
    KVShard,
    RingTile,
    RingTiles,
    ring_tiles,
    scatter_gradients,
    tile_problem,
)
from afa_core.streaming.forward.sums import StreamResult
from afa_core.streaming.operands import Operands, StaticProblem
from afa_jax.streaming import Program, backward, forward

XP: Any = jnp
LAX: Any = lax
Tree = TypeVar("Tree")


class RingProgram(NamedTuple):
    """What determines the compiled program of ring attention besides arrays."""

    axis_name: str
    program: Program

    @property
    def static(self) -> StaticProblem:
        """The static problem of all queries of a device."""
        return self.program.static

    def tiles(self, operands: Operands, shard: KVShard) -> RingTiles:
        """Return the tiles of a device."""
        queries, keys = operands.query.shape[1], shard.key.shape[-2]
        return ring_tiles(queries, keys, causal=self.static.visibility.causal)

    def tile_program(self, static: StaticProblem) -> Program:
        """Return the program of a tile."""
        own = self.program
        return Program.of(static, own.sizes, return_precision=own.return_precision)

    def apply_at(self, step: Any, tiles: RingTiles, function: Callable[[RingTile], Tree]) -> Tree:
        """Apply a function to the tile of a step ≥ 1, at which shards have been sent `step` times.

        The step is traced, and so is the index of a device in the ring.
        """
        if tiles.earlier == tiles.later:
            return function(tiles.earlier)
        is_earlier = step <= lax.axis_index(self.axis_name)
        branches = partial(function, tiles.earlier), partial(function, tiles.later)
        return cast(Tree, lax.cond(is_earlier, *branches))

    def send_receive(self, arrays: Tree) -> Tree:
        """Send arrays to the next device, and return those of the previous one."""
        devices = lax.axis_size(self.axis_name)
        targets = [(source, (source + 1) % devices) for source in range(devices)]
        return cast(Tree, LAX.ppermute(arrays, self.axis_name, targets))


def _forward(ring: RingProgram, operands: Operands, shard: KVShard, key_mask: Any) -> StreamResult:
    """Evaluate the tiles of all steps, and combine their results."""
    static, tiles = ring.static, ring.tiles(operands, shard)

    def evaluate(tile: RingTile, shard: KVShard, key_mask: Any) -> StreamResult:
        own, problem = tile_problem(tile, operands, shard, key_mask, static, xp=XP)
        result = forward(ring.tile_program(problem), own, problem.visibility.mask)
        return cast(StreamResult, result)

    def step(index: Any, state: Any) -> Any:
        shard, key_mask, result = state
        shard, key_mask = ring.send_receive((shard, key_mask))

        def combined(tile: RingTile) -> StreamResult:
            return combine_tile(result, evaluate(tile, shard, key_mask), tile, static, xp=XP)

        return shard, key_mask, ring.apply_at(index, tiles, combined)

    state = shard, key_mask, evaluate(tiles.own, shard, key_mask)
    return cast(StreamResult, lax.fori_loop(1, lax.axis_size(ring.axis_name), step, state)[2])


def _backward(
    ring: RingProgram,
    operands: Operands,
    shard: KVShard,
    key_mask: Any,
    result: StreamResult,
    grad_mean: Any,
    grad_precision: Any,
) -> tuple[Operands, KVShard]:
    """Return the gradients in all operands and in the KV shard.

    The gradient of a shard is sent around the ring with it, and in the end to its own device.
    """
    static, tiles = ring.static, ring.tiles(operands, shard)

    def evaluate(tile: RingTile, shard: KVShard, key_mask: Any) -> tuple[Operands, KVShard]:
        own, problem = tile_problem(tile, operands, shard, key_mask, static, xp=XP)
        program = ring.tile_program(problem)
        rows = slice(tile.queries.start, tile.queries.stop)
        tile_result = StreamResult(*(x[:, rows] for x in result))
        grads = grad_mean[:, rows], grad_precision[:, rows]
        tile_grads = backward(program, own, problem.visibility.mask, tile_result, *grads)
        return scatter_gradients(tile_grads, tile, operands, shard, static, xp=XP)

    def step(index: Any, state: Any) -> Any:
        shard, key_mask, operand_grads, shard_grads = state
        shard, key_mask, shard_grads = ring.send_receive((shard, key_mask, shard_grads))

        def added(tile: RingTile) -> Any:
            grads = evaluate(tile, shard, key_mask)
            return jax.tree.map(jnp.add, (operand_grads, shard_grads), grads)

        return shard, key_mask, *ring.apply_at(index, tiles, added)

    state = shard, key_mask, *evaluate(tiles.own, shard, key_mask)
    devices = lax.axis_size(ring.axis_name)
    _, _, operand_grads, shard_grads = lax.fori_loop(1, devices, step, state)
    return operand_grads, ring.send_receive(shard_grads)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def run_program(
    ring: RingProgram, operands: Operands, shard: KVShard, key_mask: Any
) -> tuple[Any, Any]:
    """Return the mean and the precision from operands without keys and the KV shard of a device."""
    result = _forward(ring, operands, shard, key_mask)
    return result.mean, result.precision


def _run_forward(
    ring: RingProgram, operands: Operands, shard: KVShard, key_mask: Any
) -> tuple[Any, Any]:
    result = _forward(ring, operands, shard, key_mask)
    return (result.mean, result.precision), (operands, shard, key_mask, result)


def _run_backward(ring: RingProgram, saved: Any, grads: Any) -> tuple[Operands, KVShard, None]:
    return *_backward(ring, *saved, *grads), None


run_program.defvjp(_run_forward, _run_backward)
