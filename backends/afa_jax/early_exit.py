"""Early exit in JAX: loops over key blocks that end where the rest cannot matter (spec §14)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import jax
import jax.numpy as jnp
from jax import lax

from afa_core.streaming.blocks import Sizes
from afa_core.streaming.early_exit import (
    KeyWeight,
    RowWeight,
    key_weight,
    may_leave_out,
    negligible,
)
from afa_core.streaming.levels import direction_of
from afa_core.streaming.tiles import Tiles
from afa_jax.tiles import AddTile, TileGrid

XP: Any = jnp
Value = TypeVar("Value")


Visits = Callable[[Any, list[RowWeight]], Any]


class EarlyExit(NamedTuple):
    """Which key blocks a query block visits."""

    tiles: Tiles
    grid: TileGrid
    finite: Any  # whether all keys and values are: others reach every row

    def visit(
        self,
        query_block: Any,
        state: Value,
        add: AddTile,
        weights: Callable[[Value], list[RowWeight]],
    ) -> Value:
        """Add the tiles of a query block to a state, from which `weights` tells those of rows."""
        if not self.applies:
            return cast(Value, self.grid.scan_tiles(query_block, state, add))

        def matters(order: int, state: Value) -> Callable[[Any, Value], Any]:
            visits = self.visits(query_block, order, weights(state))
            return lambda key_block, state: visits(key_block, weights(state))

        return cast(Value, self.grid.visit_tiles(query_block, state, add, matters))

    @property
    def applies(self) -> bool:
        """Whether there is a key block that may be left out."""
        return may_leave_out(self.tiles.static, Sizes(self.grid.rows.size, self.grid.columns.size))

    def visits(self, query_block: Any, order: int, weights: list[RowWeight]) -> Visits:
        """Return ``visits(key_block, weights)``: whether a block or one beyond it may matter.

        The weights are those of rows in the keys visited so far.
        """
        static, rows = self.tiles.static, self.grid.rows.span(query_block)
        level = self.tiles.query_level(rows, order)
        beyond = jnp.logical_and(self.grid.in_order(query_block, order), self.finite)
        origin = level[:, -1:, 0, :]
        logs = [self._log_weight(order, each.inverse_temperature, origin) for each in weights]

        def visits(key_block: Any, weights: list[RowWeight]) -> Any:
            done = beyond[key_block]
            for each, log_weight in zip(weights, logs, strict=True):
                keys = KeyWeight(origin, log_weight[key_block])
                own = negligible(each, level, keys, static.log_share, xp=XP)
                done = jnp.logical_and(done, XP.all(own))
            return jnp.logical_not(done)

        return visits

    def _log_weight(self, order: int, beta: Any, origin: Any) -> Any:
        """Return the log-weight of each key block with those beyond it, (blocks, g, 1, s)."""
        columns, static = self.grid.columns, self.tiles.static
        level: Any = direction_of(self.tiles.operands.key_level, order, static.directions)
        copy: Any = XP.arange(level.shape[1]) < columns.copies
        level = XP.where(copy[None, :, None, None], XP.inf, level)
        level = level.reshape(level.shape[0], columns.number, columns.size, *level.shape[2:])
        blocks = jax.vmap(lambda x: key_weight(x, beta, xp=XP), in_axes=1)(level)
        weight = blocks.log_sum - beta[None] * (blocks.level - origin[None])
        return lax.cumlogsumexp(weight, axis=0, reverse=order < 0)
