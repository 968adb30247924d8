"""Ring attention: the tiles that each device evaluates, and their gradients (spec §9).

Each device keeps its queries. Its shard of keys and values is sent from device to device around a
ring; at every step a device attends to the shard it holds, and combines the result with that of
the steps before. The backward pass sends the shards around again, together with the gradients that
devices add to them, and evaluates every tile a second time, with the sums over all keys.

A causal sequence is divided into 2P chunks, and device i holds chunks i and 2P − 1 − i. All its
queries attend to the first chunk of an earlier device, and the queries of its second chunk attend
to both chunks of a later one. Every step but the first is thus two pairs of chunks that are wholly
visible, on every device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from afa_core._array.arrays import Array, Namespace, device_of
from afa_core._array.masks import Visibility
from afa_core.streaming.operands import KEYS, QUERIES, Operands, StaticProblem
from afa_core.streaming.operations import cut

SHARDED = "key", "value", "key_times", "key_level"
"""The operands that a KV shard holds, the last if keys are correlated."""


class Ring(NamedTuple):
    """A ring of devices, and the index of this device in it.

    Parameters
    ----------
    index : int or traced integer
        From 0 to devices − 1.
    devices : int
    maximum : callable
        ``maximum(x)``: the elementwise maximum of an array over all devices, without gradient.
    gather : callable
        ``gather(arrays)``: the arrays of all devices, concatenated along their last axis in the
        order of devices, on every device. Its gradient is summed over them.
    """

    index: Any
    devices: int
    maximum: Callable[[Array], Array]
    gather: Callable[[Sequence[Array]], Sequence[Array]]


class KVShard(NamedTuple):
    """Keys and values of one device, rotated to time zero, before heads are broadcast."""

    key: Array  # (..., m, 2d)
    value: Array  # (..., m, 2d_v)
    times: Array  # (..., m, 1), relative to an origin common to all devices
    level: Array | None = None  # of correlated keys, (..., m, ts), in the whole sequence


class RingTile(NamedTuple):
    """Some queries of a device and some keys of the shard it holds, as ranges of tokens."""

    queries: range
    keys: range
    causal: bool
    first: bool = False  # whether it is the first of all its queries


class RingTiles(NamedTuple):
    """The tiles that a device evaluates with its own keys, an earlier or a later device's."""

    own: RingTile
    earlier: RingTile
    later: RingTile


def ring_tiles(queries: int, keys: int, *, causal: bool) -> RingTiles:
    """Return the tiles of a device that holds `queries` queries and `keys` keys."""
    if not causal:
        every = RingTile(range(queries), range(keys), causal=False)
        return RingTiles(every._replace(first=True), every, every)
    both, first, second = range(keys), range(keys // 2), range(keys // 2, keys)
    return RingTiles(
        own=RingTile(both, both, causal=True, first=True),
        earlier=RingTile(both, first, causal=False),
        later=RingTile(second, both, causal=False),
    )


def tile_problem(
    tile: RingTile,
    operands: Operands,
    shard: KVShard,
    key_mask: Array | None,
    static: StaticProblem,
    *,
    xp: Namespace,
) -> tuple[Operands, StaticProblem]:
    """Return the operands of a tile, keys broadcast to all heads, and its static problem.

    The prior's mean belongs to the first tile of a query.
    """
    keys = slice(tile.keys.start, tile.keys.stop)

    def broadcast(x: Array) -> Array:
        core = (len(tile.keys), x.shape[-1])
        x = xp.broadcast_to(x[..., keys, :], (*static.leading, *core))
        return xp.reshape(x, (operands.query.shape[0], *core))

    of_queries = {name: cut(getattr(operands, name), tile.queries) for name in QUERIES}
    if not tile.first:
        of_queries["missing"] = of_queries["missing"][..., :0]
    of_keys = {name: broadcast(x) for name, x in zip(SHARDED, shard, strict=True) if x is not None}
    if "key_level" in of_keys:
        shape = operands.query_level.shape[2:]
        level = of_keys["key_level"]
        of_keys["key_level"] = xp.reshape(level, (*level.shape[:2], *shape))
    operands = operands._replace(**of_queries, **of_keys)
    mask = None if key_mask is None else key_mask[..., None, keys]
    visibility = Visibility(len(tile.queries), len(tile.keys), tile.causal, mask)
    return operands, static._replace(visibility=visibility)


def scatter_gradients(
    tile_grads: Operands,
    tile: RingTile,
    operands: Operands,
    shard: KVShard,
    static: StaticProblem,
    *,
    xp: Namespace,
) -> tuple[Operands, KVShard]:
    """Return the gradients of a tile as gradients in all operands of a device and in a KV shard.

    Tokens outside the tile get zeros, and so do the keys among the operands, which are none.
    """
    queries = {
        name: _pad(getattr(tile_grads, name), tile.queries, x.shape[1], axis=1, xp=xp)
        for name in QUERIES
        for x in (getattr(operands, name),)
    }
    if not tile.first:
        queries["missing"] = xp.zeros_like(operands.missing)
    no_keys = {name: xp.zeros_like(getattr(operands, name)) for name in KEYS}

    def scatter(grad: Array, x: Array | None) -> Array | None:
        if x is None:
            return None
        grad = xp.reshape(grad, (*static.leading, len(tile.keys), x.shape[-1]))
        grad = _sum_to(grad, x.shape[:-2], xp=xp)
        return _pad(grad, tile.keys, x.shape[-2], axis=grad.ndim - 2, xp=xp)

    pairs = zip(SHARDED, shard, strict=True)
    keys: Any = (scatter(getattr(tile_grads, name), x) for name, x in pairs)
    return tile_grads._replace(**queries, **no_keys), KVShard(*keys)


def _pad(x: Array, tokens: range, size: int, *, axis: int, xp: Namespace) -> Array:
    """Pad an axis that holds the range `tokens` with zeros to all `size` tokens."""
    shape, device = list(x.shape), device_of(x)
    padding = []
    for missing in (tokens.start, size - tokens.stop):
        shape[axis] = missing
        padding.append(xp.zeros(tuple(shape), dtype=x.dtype, device=device))
    return xp.concat([padding[0], x, padding[1]], axis=axis)


def _sum_to(grad: Array, leading: tuple[int, ...], *, xp: Namespace) -> Array:
    """Sum a gradient over the leading axes along which an array was broadcast."""
    aligned = (1,) * (grad.ndim - 2 - len(leading)) + tuple(leading)
    for axis, size in enumerate(aligned):
        grad = xp.sum(grad, axis=axis, keepdims=True) if size == 1 else grad
    return xp.reshape(grad, (*leading, *grad.shape[-2:]))
