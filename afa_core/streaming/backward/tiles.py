"""What the gradients of every form share: those of key blocks, summed over query blocks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import Any, Generic, Self, TypeVar

from afa_core._array.arrays import Array
from afa_core._array.log_sum_exp import finite_peak
from afa_core._array.masks import TokenRange
from afa_core.streaming.backward.accumulator import GradAccumulator
from afa_core.streaming.blocks import KeyBlock
from afa_core.streaming.forward.sums import StreamResult, scaled_log_weight
from afa_core.streaming.heads import replace_leading, with_heads
from afa_core.streaming.levels import level_grad
from afa_core.streaming.tiles import Tiles

AnyTiles = TypeVar("AnyTiles", bound=Tiles)


class TileBackward(ABC, Generic[AnyTiles]):
    """Gradients of the tiles of one evaluation: `query_block` once, then `tile` for each tile."""

    def __init__(
        self, tiles: AnyTiles, grads: GradAccumulator, whole: TileBackward[AnyTiles] | None = None
    ) -> None:
        self.tiles, self.grads, self.ops, self.xp = tiles, grads, tiles.ops, tiles.xp
        self.pending: dict[KeyBlock, tuple[Any, list[Array]]] = {}
        self.whole, self.narrower = whole, dict[int, Any]()

    def leading(self, heads: int) -> Self:
        """Return the gradients of the first heads; those of their keys are added to all."""
        if heads == self.tiles.heads:
            return self
        if heads not in self.narrower:
            self.narrower[heads] = type(self)(self.tiles.leading(heads), self.grads, self)
        narrower: Self = self.narrower[heads]
        return narrower

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

    @abstractmethod
    def prior_mean(self, rows: TokenRange) -> None:
        """Add the gradients of a query block through the weight of the prior's mean."""

    def _add_query_noise(self, rows: TokenRange, x: Array) -> None:
        """Add the gradient in γ² of queries, (g, n, s): shared, or of each."""
        if self.tiles.operands.query_variance.shape[-1]:
            self.grads.tokens("query_variance", rows, x)
        else:
            self.grads.parameter("query_noise", self.xp.sum(x, axis=1, keepdims=True))

    def _add_missing(
        self, rows: TokenRange, peak: Array, grad_total: Array, grad_untempered: Array
    ) -> None:
        """Propagate the gradients in Z and in every exp(L), (g, n, s), to that weight."""
        tiles, xp, missing = self.tiles, self.xp, self.tiles.missing(rows)
        if missing is None:
            return
        beta, weighted = tiles.operands.inverse_temperature, missing
        if tiles.static.has_temperature:
            weighted = scaled_log_weight(missing, beta, xp=xp)
        grad = grad_total * xp.exp(weighted - finite_peak(peak, xp=xp))
        if tiles.static.has_temperature:
            by_beta = grad * xp.where(missing > -xp.inf, missing, 0.0)
            by_beta = xp.sum(xp.sum(by_beta, axis=-1, keepdims=True), axis=-2, keepdims=True)
            self.grads.parameter("inverse_temperature", by_beta)
            grad = beta * grad + grad_untempered * xp.exp(missing)
        self.grads.tokens("missing", rows, grad)

    def _add_query_levels(
        self, rows: TokenRange, order: int, by_query: Array, later: Array | None = None
    ) -> None:
        """Add the gradients in log a of a tile, summed over keys, (g, n, s), to query levels.

        In a tile without a reference time, give that of later keys by itself.
        """
        grads = self._by_direction(by_query, order, later)
        like = self.tiles.operands.query_level
        self.grads.tokens("query_level", rows, level_grad(grads, like, xp=self.xp))

    def _add_key_levels(
        self, columns: TokenRange, order: int, by_key: Array, later: Array | None = None
    ) -> None:
        """Add them, summed over queries, (g, m, s), to key levels, of which log a is less."""
        grads = tuple(-x for x in self._by_direction(by_key, order, later))
        like = self.tiles.operands.key_level
        self.grads.tokens("key_level", columns, level_grad(grads, like, xp=self.xp))

    def _by_direction(self, x: Array, order: int, later: Array | None) -> tuple[Array, ...]:
        if self.tiles.static.directions == 1:
            return (x,)
        zero = self.xp.zeros_like(x)
        if later is None:
            return (x, zero) if order > 0 else (zero, x)
        return x, later

    def _add_pair_levels(
        self, rows: TokenRange, columns: TokenRange, grad: Array, past: Array | None
    ) -> None:
        """Add the gradients in log a of the pairs of a tile, (g, s, n, m), to all levels."""
        xp = self.xp
        parts = [grad]
        if past is not None:
            ahead = xp.where(past[:, None, ...], grad, 0.0)
            parts = [ahead, grad - ahead]
        by_query = [xp.matrix_transpose(xp.sum(x, axis=-1)) for x in parts]
        by_key = [xp.matrix_transpose(xp.sum(x, axis=-2)) for x in parts]
        self._add_query_levels(rows, 0, *by_query)
        self._add_key_levels(columns, 0, *by_key)

    def _add_key_grads(self, block: KeyBlock, keys: Any, grads: list[Array]) -> None:
        """Sum the gradients of a key block's factors over the query blocks that attend to it."""
        if not self.ops.caches:
            self._key_grads(block, keys, grads)
            return
        if self.whole is not None:
            self.whole._add_key_grads(block, self.whole.tiles.keys(block), grads)
            return
        if block not in self.pending:
            heads = self.tiles.heads
            self.pending[block] = keys, [with_heads(x + 0.0, heads, xp=self.xp) for x in grads]
            return
        pairs = zip(self.pending[block][1], grads, strict=True)
        self.pending[block] = keys, [self._added(x, y) for x, y in pairs]

    def _added(self, total: Array, x: Array) -> Array:
        """Add to the first heads; may overwrite the total."""
        heads = x.shape[0]
        if heads == total.shape[0]:
            return self.ops.add(total, x)
        return replace_leading(total, self.ops.add(total[:heads, ...], x), xp=self.xp)

    def finish(self, needed: Collection[KeyBlock] = ()) -> None:
        """Propagate the sums of all key blocks that no later query block attends to."""
        for block in [block for block in self.pending if block not in needed]:
            self._key_grads(block, *self.pending.pop(block))
        self.tiles.evict(needed)

    def _time_column(self, x: Array) -> Array:
        """Return the gradient of times, (g, tokens), as a column in the dtype of times."""
        return self.xp.astype(x, self.tiles.operands.key_times.dtype, copy=False)[..., None]
