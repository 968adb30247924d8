r"""Early exit: far blocks of correlated keys are left out once they cannot matter (spec §14).

Robust weights are at most 1, so that the keys of blocks that are left out have at most the weight

    R_i = Σ_j a_ij^β = e^{β query_i} Σ_j e^{−β key_j}

in a row. A head leaves a side once R_i ≤ τZ_i in every row, with Z_i the weight of the keys
visited. Both are compared as logarithms, since either may underflow. Heads are sorted by what they
remember: those that go on are then the first ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from afa_core._array.arrays import Array, Namespace
from afa_core._array.masks import TokenRange
from afa_core.model.influence import log_or_lowest
from afa_core.streaming.blocks import KeyBlock, Sizes
from afa_core.streaming.forward.sums import RunningSums, StreamResult
from afa_core.streaming.heads import leading_heads
from afa_core.streaming.levels import above, direction_of, reference_level
from afa_core.streaming.operands import Operands, StaticProblem
from afa_core.streaming.operations import Operations
from afa_core.streaming.tiles import Tiles
from afa_core.streaming.visible import flatten_mask


class KeyWeight(NamedTuple):
    """Σ_j e^{−β key_j} of some keys: e^{−βc} times the exponential of `log_sum`, (g, 1, s)."""

    level: Array  # c
    log_sum: Array


class RowWeight(NamedTuple):
    """The logarithm of the weight of the keys visited so far, (g, n, 1 or s), at some β."""

    inverse_temperature: Array  # (g, 1, 1)
    log_total: Array


class Visit(NamedTuple):
    """A key block, and how many heads visit it: the first ones."""

    block: KeyBlock
    heads: int


def may_leave_out(static: StaticProblem, sizes: Sizes) -> bool:
    """Whether a problem has key blocks that early exit may leave out."""
    return static.directions > 0 and static.tolerance > 0.0 and static.visibility.keys > sizes.keys


def by_memory(
    operands: Operands, static: StaticProblem, sizes: Sizes, ops: Operations, *, xp: Namespace
) -> tuple[Operands, StaticProblem, Array | None]:
    """Return a problem whose heads come in the order of their memory, and their former places.

    Places are None if no head is moved. Where early exit does not apply the tolerance is zero.
    """
    read = ops.read if may_leave_out(static, sizes) else None
    if read is None or not read(all_tokens_finite(operands, xp=xp)):
        return operands, static._replace(tolerance=0.0), None
    level = direction_of(operands.query_level, 1, static.directions)
    level = xp.where(level > -xp.inf, level, 0.0)  # no key is earlier than the query
    forgotten = xp.sum(level[:, :1, ...] - level[:, -1:, ...], axis=(1, 2))  # (g, s)
    order = xp.argsort(xp.min(forgotten, axis=-1))
    if read(order) == list(range(order.shape[0])):
        return operands, static, None
    operands = Operands(*(xp.take(x, order, axis=0) for x in operands))
    mask = static.visibility.mask
    if mask is not None:
        mask = flatten_mask(mask, static, xp=xp)
        mask = xp.take(xp.broadcast_to(mask, (order.shape[0], *mask.shape[1:])), order, axis=0)
    visibility = static.visibility._replace(mask=mask)
    static = static._replace(leading=tuple(order.shape), visibility=visibility)
    return operands, static, xp.argsort(order)


def all_tokens_finite(operands: Operands, *, xp: Namespace) -> Array:
    """Whether all keys and values are finite: others reach every row, however small its weight."""
    finite = (xp.all(xp.isfinite(x)) for x in (operands.key, operands.value))
    return xp.logical_and(*finite)


def key_weight(level: Array, beta: Array, *, xp: Namespace) -> KeyWeight:
    """Return the weight of a block of keys from their levels, (g, m, t, s)."""
    reference = reference_level(level, xp=xp)
    relative = above(level, reference)
    absent = relative == xp.inf  # without influence at any β
    weights = xp.where(absent, 0.0, xp.exp(-beta * xp.where(absent, 0.0, relative)))
    return KeyWeight(reference, log_or_lowest(xp.sum(weights, axis=1, keepdims=True), xp=xp))


def joint_weight(one: KeyWeight, two: KeyWeight, beta: Array, *, xp: Namespace) -> KeyWeight:
    """Return the weight of two sets of keys, at the level of the second."""
    relative = one.log_sum - beta * (one.level - two.level)
    return KeyWeight(two.level, xp.logaddexp(relative, two.log_sum))


def negligible(
    rows: RowWeight, query_level: Array, keys: KeyWeight, log_share: float, *, xp: Namespace
) -> Array:
    """Whether keys have at most a share of the weight of every row, for each head, (g,)."""
    log_weight = rows.inverse_temperature * above(query_level, keys.level) + keys.log_sum
    return xp.all(log_weight <= rows.log_total + log_share, axis=(1, 2))


def weights_of_sums(sums: RunningSums, tiles: Tiles) -> list[RowWeight]:
    """Return the weights of rows so far, and those without β where they are kept."""
    beta, xp = tiles.operands.inverse_temperature, tiles.xp
    weights = [_row_weight(beta, sums.peak, sums.total, xp=xp)]
    if sums.untempered is not None:
        weights.append(_row_weight(xp.ones_like(beta), *sums.untempered, xp=xp))
    return weights


def weights_of_result(result: StreamResult, tiles: Tiles) -> list[RowWeight]:
    """Return the weights of rows that have a result, and those without β."""
    beta, xp = tiles.operands.inverse_temperature, tiles.xp
    weights = [_row_weight(beta, result.peak, result.total, xp=xp)]
    if tiles.static.has_temperature:
        one, zero = xp.ones_like(beta), xp.zeros_like(result.precision)
        weights.append(_row_weight(one, zero, result.precision, xp=xp))
    return weights


def _row_weight(beta: Array, peak: Array, total: Array, *, xp: Namespace) -> RowWeight:
    log_total = peak + log_or_lowest(total, xp=xp)
    if log_total.ndim > 3:  # (g, s, n, 1)
        log_total = xp.matrix_transpose(log_total[..., 0])
    return RowWeight(beta, log_total)


class EarlyExit:
    """Which key blocks the tiles of one evaluation visit, and with how many of their heads."""

    def __init__(self, tiles: Tiles) -> None:
        self.tiles, self.xp, static = tiles, tiles.xp, tiles.static
        self.heads, self.tolerance = tiles.operands.query.shape[0], static.tolerance
        self.known: dict[tuple[int, int], tuple[list[KeyBlock], list[KeyWeight]]] = {}

    def visits(
        self,
        rows: TokenRange,
        key_blocks: Sequence[KeyBlock],
        row_weights: Callable[[int], list[RowWeight]],
    ) -> Iterator[Visit]:
        """Yield blocks from the nearest to the farthest on either side, until the rest is left out.

        ``row_weights(heads)`` is asked before each, for the keys that were visited until then.
        """
        if not self.tolerance:
            yield from (Visit(block, self.heads) for block in key_blocks)
            return
        yield from (Visit(block, self.heads) for block in key_blocks if not block.order)
        farthest_first = (
            [block for block in key_blocks if block.order == 1],
            [block for block in reversed(key_blocks) if block.order == -1],
        )
        for blocks in farthest_first:
            heads = self.heads
            for rest in range(len(blocks), 0, -1):
                heads = self._going_on(rows, blocks, rest, row_weights(heads))
                if not heads:
                    break
                yield Visit(blocks[rest - 1], heads)

    def _going_on(
        self, rows: TokenRange, blocks: list[KeyBlock], rest: int, weights: list[RowWeight]
    ) -> int:
        """Return how many of the heads of the weights visit the last of the remaining blocks."""
        read, heads = self.tiles.ops.read, weights[0].log_total.shape[0]
        level = self.tiles.query_level(rows, blocks[0].order)[:heads, ...]
        log_share = self.tiles.static.log_share
        assert read is not None
        done = []
        for index, each in enumerate(weights):
            keys = leading_heads(self._key_weights(blocks, index)[rest - 1], heads)
            done.append(read(negligible(each, level, keys, log_share, xp=self.xp)))
        going_on = [not all(each) for each in zip(*done, strict=True)]
        return max((head + 1 for head, on in enumerate(going_on) if on), default=0)

    def _key_weights(self, blocks: list[KeyBlock], index: int) -> list[KeyWeight]:
        """Return the weight of each block with those before it, the farthest first.

        With β at first, then without. Blocks of queries have the farthest in common, for which it
        is known from earlier ones.
        """
        beta = self.tiles.operands.inverse_temperature
        beta = self.xp.ones_like(beta) if index else beta
        known = self.known.setdefault((index, blocks[0].order), ([], []))
        pairs = enumerate(zip(*known, blocks, strict=False))
        same = next((place for place, (old, _, new) in pairs if old != new), None)
        if same is not None:
            del known[0][same:], known[1][same:]
        for block in blocks[len(known[0]) :]:
            weight = key_weight(self.tiles.key_level(block), beta, xp=self.xp)
            if known[1]:
                weight = joint_weight(known[1][-1], weight, beta, xp=self.xp)
            known[0].append(block)
            known[1].append(weight)
        return known[1]
