"""What the tiles of every form share: a cache, a workspace, lags and their factors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Hashable
from functools import partial
from typing import Any, NamedTuple, Self, TypeVar

from afa_core._array.arrays import Array, Namespace
from afa_core._array.masks import TokenRange
from afa_core.model.weighting import Uniform
from afa_core.reference.softmax import hide
from afa_core.streaming.blocks import KeyBlock
from afa_core.streaming.heads import leading_heads
from afa_core.streaming.lags import LagFactors, lag_factors
from afa_core.streaming.levels import (
    BlockInfluence,
    PairInfluence,
    above,
    direction_of,
    factored_pairs,
    pair_levels,
    reference_level,
)
from afa_core.streaming.operands import (
    Norms,
    Operands,
    StaticProblem,
    bounded_tokens,
    part,
    squared_norms,
    too_long,
)
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
    whole: Any = None  # the tiles of all heads, if these are of the first few


class Tiles(ABC):
    """The tiles of one evaluation, by integer powers or through logarithms."""

    def __init__(self, context: TileContext) -> None:
        self.context = context
        operands, self.static, norms, self.ops, powers, self.xp, self.whole = context
        self.too_long = too_long(norms, self.ops, xp=self.xp)
        if self.too_long is not None:
            operands = bounded_tokens(operands, xp=self.xp)
            norms = squared_norms(operands, self.ops.norm2)
        self.operands, self.norms = operands, norms
        self.power = self.static.power if powers else 0
        self.residual = self.static.weighting is not Uniform  # whether weights depend on it
        self.correlated = self.static.directions > 0
        self.sigma_power = self.power if self.correlated else self.power - 1  # of Σ in a weight
        self.cache: dict[Hashable, Any] = {}
        self.narrower: dict[int, Any] = {}
        self.workspace = Workspace(self.ops)

    def token_grads(self, grads: Operands) -> Operands:
        """Return gradients in all operands, with zero in tokens that are constants."""
        if self.too_long is None:
            return grads
        query, key = (
            self.xp.where(constant, 0.0 * x, x)  # NaN stays
            for constant, x in zip(self.too_long, (grads.query, grads.key), strict=True)
        )
        return grads._replace(query=query, key=key)

    @property
    def in_logarithms(self) -> bool:
        """Whether the weights of correlated keys are evaluated through logarithms."""
        return not self.power

    @property
    def heads(self) -> int:
        """Number g of heads."""
        return self.operands.query.shape[0]

    def leading(self, heads: int) -> Self:
        """Return the tiles of the first heads, which have their keys from those of all heads."""
        if heads == self.heads:
            return self
        if heads not in self.narrower:
            operands, static = part(self.operands, self.static, slice(heads))
            context = self.context._replace(
                operands=operands,
                static=static,
                norms=leading_heads(self.norms, heads),
                whole=self,
            )
            self.narrower[heads] = type(self)(context)
        narrower: Self = self.narrower[heads]
        return narrower

    @abstractmethod
    def keys(self, block: KeyBlock) -> Any:
        """Carry a block of keys to its reference time."""

    def cached_keys(self, block: KeyBlock, carry: Callable[[Any, KeyBlock], Value]) -> Value:
        """Return a block of keys, carried to its reference time when it is first used."""
        if self.whole is not None:
            keys: Value = leading_heads(self.whole.cached_keys(block, carry), self.heads)
            return keys
        return self.cached(block, lambda: carry(self, block))

    def cached(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return what is cached under a key, made on first use; made anew without a cache."""
        if not self.ops.caches:
            return make()
        if key not in self.cache:
            self.cache[key] = make()
        value: Value = self.cache[key]
        return value

    def cached_queries(
        self, rows: TokenRange, order: int, carry: Callable[[Any, TokenRange, int], Value]
    ) -> Value:
        """Return a block of queries, carried to its own reference time on one side at first use.

        Only the latest block is kept.
        """
        if self.whole is not None:
            queries: Value = leading_heads(
                self.whole.cached_queries(rows, order, carry), self.heads
            )
            return queries
        if not self.ops.caches:
            return carry(self, rows, order)
        name = f"queries {order}"
        if self.cache.get(name, (None, None))[0] != rows:
            self.cache[name] = rows, carry(self, rows, order)
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

    def query_variance(self, rows: TokenRange) -> Array | None:
        """Return γ² of each of a block of queries, (g, n, s), None if they share it."""
        variance = self.operands.query_variance
        return self.ops.cut(variance, rows) if variance.shape[-1] else None

    def query_noise(self, rows: TokenRange) -> Array:
        """Return γ² of a block of queries, (g, n or 1, s)."""
        variance = self.query_variance(rows)
        return self.operands.query_noise if variance is None else variance

    def missing(self, rows: TokenRange) -> Array | None:
        """Return the log-weight of the prior's mean, (g, n, s), None if it has none."""
        missing = self.operands.missing
        return self.ops.cut(missing, rows) if missing.shape[-1] else None

    def block_influence(self, block: KeyBlock) -> BlockInfluence | None:
        """Return the influence of a block of correlated keys at a level c, or its logarithm."""
        if not self.correlated:
            return None
        level = self.key_level(block)
        reference = reference_level(level, xp=self.xp)
        log_influence = -self.narrow(above(level, reference))
        of_keys = log_influence if self.in_logarithms else self.xp.exp(log_influence)
        return BlockInfluence(of_keys, reference)

    def query_influence(self, rows: TokenRange, block: KeyBlock, reference: Array) -> Array:
        """Return the influence of a block of queries at the level of keys, (g, n, s)."""
        level = self.query_level(rows, block.order)
        log_influence = self.narrow(above(level, reference))
        # at most zero, but where all keys of the tile are hidden and have any time
        log_influence = self.xp.where(log_influence < 1.0, log_influence, 1.0)
        return log_influence if self.in_logarithms else self.xp.exp(log_influence)

    def key_level(self, block: KeyBlock) -> Array:
        """Return the levels of a block of keys in the direction of its order, (g, m, t, s)."""
        level = self.ops.cut(self.operands.key_level, block.columns)
        return direction_of(level, block.order, self.static.directions)

    def query_level(self, rows: TokenRange, order: int) -> Array:
        """Return the levels of a block of queries in the direction of an order, (g, n, t, s)."""
        level = self.ops.cut(self.operands.query_level, rows)
        return direction_of(level, order, self.static.directions)

    def pair_influence(
        self, rows: TokenRange, columns: TokenRange, visible: Array | None
    ) -> PairInfluence | None:
        """Return the influence of the pairs of a tile without a reference time, (g, s, n, m)."""
        xp = self.xp
        if not self.correlated:
            return None

        orders = (1, -1)[: self.static.directions]
        levels = [
            (self.query_level(rows, order), self.key_level(KeyBlock(columns, order)))
            for order in orders
        ]
        past = self.lag(rows, columns) >= 0.0 if len(levels) > 1 else None

        def of_pairs(found: list[Array]) -> Array:
            return self.narrow(
                found[0] if past is None else xp.where(past[:, None, ...], found[0], found[1])
            )

        if self.ops.read is not None and not self.in_logarithms:
            dtype, read = self.operands.query.dtype, self.ops.read
            factored = [
                factored_pairs(*each, dtype, read, partial(self.workspace.outer, name), xp=xp)
                for name, each in zip(("earlier", "later"), levels, strict=False)
            ]
            found = [each for each in factored if each is not None]
            if len(found) == len(levels):
                return PairInfluence(of_pairs(found), None, past)
        hidden = None if visible is None else visible[:, None, ...]
        log_influence = of_pairs([pair_levels(*each, xp=xp) for each in levels])
        log_influence = hide(log_influence, hidden, xp=xp)
        of_keys = log_influence if self.in_logarithms else xp.exp(log_influence)
        return PairInfluence(of_keys, None, past)

    def narrow(self, x: Array) -> Array:
        """Cast to the dtype of tokens."""
        return self.xp.astype(x, self.operands.query.dtype, copy=False)
