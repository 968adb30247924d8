"""Ring attention as one operation of autograd: its forward and its backward pass (spec §9)."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from afa_core.distributed.results import combine_tile
from afa_core.distributed.ring import (
    KVShard,
    RingTile,
    RingTiles,
    ring_tiles,
    scatter_gradients,
    tile_problem,
)
from afa_core.streaming.blocks import Sizes
from afa_core.streaming.forward.sums import StreamResult
from afa_core.streaming.operands import Operands, StaticProblem
from afa_torch.operator import OPERANDS, XP, Statics, pack_statics
from afa_torch.ring.collectives import RankRing


class RingContext(NamedTuple):
    """What determines ring attention besides tensors."""

    ring: RankRing
    static: StaticProblem
    sizes: Sizes
    return_precision: bool

    @property
    def shard_size(self) -> int:
        """Number of tensors of a KV shard: that of levels only if keys are correlated."""
        return len(KVShard._fields) - (0 if self.static.directions else 1)

    def unpack_shard(self, packed_shard: list[Any]) -> tuple[KVShard, Any]:
        """Return a KV shard and its key mask, None if it has none."""
        shard, mask = packed_shard[: self.shard_size], packed_shard[self.shard_size :]
        return KVShard(*shard), mask[0] if mask else None

    def tiles(self, operands: Operands, packed_shard: list[Tensor]) -> RingTiles:
        """Return the tiles of this rank."""
        queries, keys = operands.query.shape[1], packed_shard[0].shape[-2]
        return ring_tiles(queries, keys, causal=self.static.visibility.causal)

    def tile_at(self, step: int, tiles: RingTiles) -> RingTile:
        """Return the tile of a step, at which the shard has been sent `step` times."""
        if step == 0:
            return tiles.own
        return tiles.earlier if step <= self.ring.rank else tiles.later

    def operator_arguments(
        self, tile: RingTile, operands: Operands, packed_shard: list[Tensor]
    ) -> tuple[list[Any], Any, Statics]:
        """Return the operands of a tile, its mask, and the other arguments of ``afa::stream``."""
        shard, key_mask = self.unpack_shard(packed_shard)
        own, static = tile_problem(tile, operands, shard, key_mask, self.static, xp=XP)
        statics = pack_statics(static, self.sizes, return_precision=self.return_precision)
        return list(own), static.visibility.mask, statics


def pack_shard(shard: KVShard, key_mask: Any = None) -> list[Any]:
    """Return the tensors that a rank sends: a KV shard, and its key mask if there is one."""
    return [x for x in (*shard, key_mask) if x is not None]


def _forward(context: RingContext, operands: Operands, packed_shard: list[Tensor]) -> StreamResult:
    """Evaluate the tiles of all steps, and combine their results."""
    ring, tiles = context.ring, context.tiles(operands, packed_shard)
    result = None
    for step in range(ring.ranks):
        receive = ring.send_receive(packed_shard) if step + 1 < ring.ranks else None
        tile = context.tile_at(step, tiles)
        own, mask, statics = context.operator_arguments(tile, operands, packed_shard)
        tile_result = StreamResult(*torch.ops.afa.stream(own, mask, *statics))
        if result is None:
            result = tile_result
        else:
            result = combine_tile(result, tile_result, tile, context.static, xp=XP)
        packed_shard = receive() if receive else packed_shard
    assert result is not None
    return result


def _backward(
    context: RingContext,
    operands: Operands,
    packed_shard: list[Tensor],
    result: list[Tensor],
    grads: list[Tensor],
) -> list[Any]:
    """Return the gradients in all operands and in the KV shard.

    The gradient of a shard follows it around the ring; the last step sends it to its own rank.
    """
    ring, tiles = context.ring, context.tiles(operands, packed_shard)
    like, _ = context.unpack_shard(packed_shard)  # the shards of all ranks have the same shapes
    operand_grads, receive_grads = None, None
    for step in range(ring.ranks):
        receive = ring.send_receive(packed_shard) if step + 1 < ring.ranks else None
        tile = context.tile_at(step, tiles)
        own, mask, statics = context.operator_arguments(tile, operands, packed_shard)
        start = tile.queries.start
        rows = [x[:, start:] for x in result], *(x[:, start:] for x in grads)
        tile_grads = Operands(*torch.ops.afa.stream_backward(own, mask, *rows, *statics))
        by_operand, by_shard = scatter_gradients(
            tile_grads, tile, operands, like, context.static, xp=XP
        )
        operand_grads = _add(operand_grads, list(by_operand))
        shard_grads = _add(receive_grads() if receive_grads else None, pack_shard(by_shard))
        receive_grads = ring.send_receive(shard_grads)
        packed_shard = receive() if receive else packed_shard
    assert operand_grads is not None
    assert receive_grads is not None
    return [*operand_grads, *receive_grads()]


def _add(total: list[Any] | None, grads: list[Any]) -> list[Any]:
    return grads if total is None else [a + b for a, b in zip(total, grads, strict=True)]


def _backward_of(ctx: Any, *grads: Any) -> Any:
    saved = list(ctx.saved_tensors)
    split = len(saved) - len(StreamResult._fields)
    operands, packed_shard = Operands(*saved[:OPERANDS]), saved[OPERANDS:split]
    found = _backward(ctx.context, operands, packed_shard, saved[split:], list(grads))
    return None, *found, *(None for _ in packed_shard[ctx.context.shard_size :])


class RingAttention(torch.autograd.Function):
    """The mean and the precision from operands without keys and a packed KV shard."""

    @staticmethod
    def forward(ctx: Any, context: RingContext, *tensors: Any) -> Any:
        """Save the result over all keys, from which the backward pass evaluates tiles."""
        ctx.context = context
        result = _forward(context, Operands(*tensors[:OPERANDS]), list(tensors[OPERANDS:]))
        ctx.save_for_backward(*tensors, *result)
        return result.mean, result.precision

    backward: Any = staticmethod(once_differentiable(_backward_of))
