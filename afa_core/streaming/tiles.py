"""What the tiles of every form share: a cache, a workspace, lags and their factors."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable
from typing import Any, NamedTuple, TypeVar

from afa_core._array.arrays import Array, Namespace
from afa_core._array.masks import TokenRange
from afa_core.model.weighting import Uniform
from afa_core.streaming.blocks import KeyBlock
from afa_core.streaming.lags import LagFactors, lag_factors
from afa_core.streaming.operands import Norms, Operands, StaticProblem
from afa_core.streaming.operations import Operations, Workspace

Value = TypeVar("Value")


def relative_position(rows: TokenRange, columns: TokenRange) -> tuple[Hashable, ...]:
    """Return a cache key of the lag from a key block's reference time to a query block.

    On a regular grid that lag depends on these numbers alone.
    """
    return "relative position", rows.start - columns.start, len(rows), len(columns)


class TileContext(NamedTuple):
    """What the tiles of one evaluation are made from."""

    operands: Operands
    static: StaticProblem
    norms: Norms
    ops: Operations
    powers: bool  # whether weights may be integer powers
    xp: Namespace


class Tiles:
    """The tiles of one evaluation, by integer powers or through logarithms."""

    def __init__(self, context: TileContext) -> None:
        self.operands, self.static, self.norms, self.ops, powers, self.xp = context
        self.power = self.static.power if powers else 0
        self.residual = self.static.weighting is not Uniform  # whether weights depend on it
        self.cache: dict[Hashable, Any] = {}
        self.workspace = Workspace(self.ops)

    def cached(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return what is cached under a key, made on first use; made anew without a cache."""
        if not self.ops.caches:
            return make()
        if key not in self.cache:
            self.cache[key] = make()
        value: Value = self.cache[key]
        return value

    def cached_latest(self, name: str, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return what is cached under a name if it has this key, else replace it."""
        if not self.ops.caches:
            return make()
        if self.cache.get(name, (None, None))[0] != key:
            self.cache[name] = key, make()
        value: Value = self.cache[name][1]
        return value

    def evict(self, needed: Collection[KeyBlock]) -> None:
        """Drop the cached key blocks that are not needed; later query blocks need none of them."""
        for key in [key for key in self.cache if isinstance(key, KeyBlock) and key not in needed]:
            del self.cache[key]

    def lag_factors(self, lag: Array, decay: Array, key: Hashable) -> LagFactors:
        """Evaluate E and V of lags; on a regular grid they are cached under `key`."""

        def make() -> LagFactors:
            return lag_factors(lag, decay, xp=self.xp)

        return self.cached(key, make) if self.static.regular else make()

    def lag(self, rows: TokenRange, columns: TokenRange) -> Array:
        """Return t_i − t_j of a tile, (g, n, m), in the widest dtype."""
        ops = self.ops
        key_times = self.xp.matrix_transpose(ops.cut(self.operands.key_times, columns))
        return ops.cut(self.operands.query_times, rows) - key_times

    def narrow(self, x: Array) -> Array:
        """Cast to the dtype of tokens."""
        return self.xp.astype(x, self.operands.query.dtype, copy=False)
