"""What the gradients of every form share: those of key blocks, summed over query blocks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import Any, Generic, TypeVar

from afa_core._array.arrays import Array
from afa_core._array.masks import TokenRange
from afa_core.streaming.backward.accumulator import GradAccumulator
from afa_core.streaming.blocks import KeyBlock
from afa_core.streaming.forward.sums import StreamResult
from afa_core.streaming.tiles import Tiles

AnyTiles = TypeVar("AnyTiles", bound=Tiles)


class TileBackward(ABC, Generic[AnyTiles]):
    """Gradients of the tiles of one evaluation: `query_block` once, then `tile` for each tile."""

    def __init__(self, tiles: AnyTiles, grads: GradAccumulator) -> None:
        self.tiles, self.grads, self.ops, self.xp = tiles, grads, tiles.ops, tiles.xp
        self.pending: dict[KeyBlock, tuple[Any, list[Array]]] = {}

    @abstractmethod
    def query_block(
        self, rows: TokenRange, result: StreamResult, grad_mean: Array, grad_precision: Array
    ) -> None:
        """Begin a block of queries with the gradients of N, of Z, and of every exp(L) of a row."""

    @abstractmethod
    def tile(self, rows: TokenRange, block: KeyBlock, visible: Array | None) -> None:
        """Add the gradients that one tile of the query block contributes."""

    @abstractmethod
    def _key_grads(self, block: KeyBlock, keys: Any, grads: list[Array]) -> None:
        """Propagate the gradients of a key block's factors to its tokens and parameters."""

    def _add_key_grads(self, block: KeyBlock, keys: Any, grads: list[Array]) -> None:
        """Sum the gradients of a key block's factors over the query blocks that attend to it."""
        if not self.ops.caches:
            self._key_grads(block, keys, grads)
            return
        if block not in self.pending:
            self.pending[block] = keys, [x + 0.0 for x in grads]
            return
        pairs = zip(self.pending[block][1], grads, strict=True)
        self.pending[block] = keys, [self.ops.add(x, y) for x, y in pairs]

    def finish(self, needed: Collection[KeyBlock] = ()) -> None:
        """Propagate the sums of all key blocks that no later query block attends to."""
        for block in [block for block in self.pending if block not in needed]:
            self._key_grads(block, *self.pending.pop(block))
        self.tiles.evict(needed)

    def _time_column(self, x: Array) -> Array:
        """Return the gradient of times, (g, tokens), as a column in the dtype of times."""
        return self.xp.astype(x, self.tiles.operands.key_times.dtype, copy=False)[..., None]
