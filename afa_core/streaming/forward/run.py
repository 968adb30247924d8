"""The forward: each block of queries against one block of keys after another (spec §9)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from afa_core._array.arrays import Array, Namespace, device_of
from afa_core.streaming.blocks import (
    BlockOrder,
    KeyBlock,
    Sizes,
    order_of_places,
    order_of_times,
    pairs_of,
    query_blocks,
    unknown_order,
)
from afa_core.streaming.early_exit import EarlyExit, RowWeight, Visit, by_memory, weights_of_sums
from afa_core.streaming.forward.forms import FORMS, Form
from afa_core.streaming.forward.sums import RunningSums, StreamResult
from afa_core.streaming.heads import joined_heads, leading_heads, trailing_heads
from afa_core.streaming.operands import Operands, StaticProblem, part, squared_norms
from afa_core.streaming.operations import Operations
from afa_core.streaming.ranges import powers_in_range, powers_known
from afa_core.streaming.tiles import TileContext
from afa_core.streaming.visible import all_finite, count_nonfinite, propagate_nan, visible_pairs


def tiles_of(operands: Operands, static: StaticProblem, ops: Operations, *, xp: Namespace) -> Form:
    """Return the tiles of a problem, with integer powers where they are certain to be in range."""
    norms, powers = squared_norms(operands, ops.norm2), powers_known(static)
    if powers is None and ops.read is not None:
        powers = bool(ops.read(powers_in_range(operands, static, norms, xp=xp)))
    return FORMS[static.form](TileContext(operands, static, norms, ops, bool(powers), xp))


def schedule(
    operands: Operands, static: StaticProblem, sizes: Sizes, ops: Operations, *, xp: Namespace
) -> Iterator[tuple[range, list[KeyBlock]]]:
    """Yield blocks of queries, each with the key blocks it attends to; one if there is no row."""
    if 0 in operands.query.shape[:2]:
        yield range(static.visibility.queries), []
        return
    order: BlockOrder = unknown_order
    if static.regular:
        order = order_of_places(static.visibility)
    elif ops.read is not None:
        order = order_of_times(operands.query_times, operands.key_times, ops.read, xp=xp)
    yield from query_blocks(static.visibility, sizes, order)


def parts_of(
    operands: Operands, static: StaticProblem, sizes: Sizes, ops: Operations, *, xp: Namespace
) -> Iterator[tuple[Operands, StaticProblem, Array | None]]:
    """Yield what is evaluated at once, with its heads by their memory and their former places."""
    heads = max(operands.query.shape[0], 1)
    slices = [slice(head, head + 1) for head in range(heads)] if ops.by_heads else [slice(None)]
    for each in slices:
        yield by_memory(*part(operands, static, each), sizes, ops, xp=xp)


class BlockResult(NamedTuple):
    """The estimates of a block of queries, and the visits of key blocks that they come from."""

    result: StreamResult
    rows: range
    visits: list[Visit]

    def pairs(self, head: int) -> int:
        """Return how many pairs a head has visited."""
        columns = (len(each.block.columns) for each in self.visits if head < each.heads)
        return len(self.rows) * sum(columns)


def forward(
    operands: Operands,
    static: StaticProblem,
    sizes: Sizes,
    ops: Operations,
    *,
    return_precision: bool,
    xp: Namespace,
) -> StreamResult:
    """Estimate the state at every query."""
    results = []
    for some, of_some, places in parts_of(operands, static, sizes, ops, xp=xp):
        options = some, of_some, sizes, ops
        blocks = _query_blocks(*options, return_precision=return_precision, xp=xp)
        # a list before results are joined: the tiles are released by then
        results.append(_joined([each.result for each in blocks], axis=1, xp=xp))
        if places is not None:
            results[-1] = StreamResult(*(xp.take(x, places, axis=0) for x in results[-1]))
    return _joined(results, axis=0, xp=xp)


def count_pairs(
    operands: Operands, static: StaticProblem, sizes: Sizes, ops: Operations, *, xp: Namespace
) -> tuple[Array, int]:
    """Return how many pairs are in the tiles that the forward visits, (g,), and in all."""
    device, visited = device_of(operands.query), []
    for some, of_some, places in parts_of(operands, static, sizes, ops, xp=xp):
        blocks = list(_query_blocks(some, of_some, sizes, ops, return_precision=False, xp=xp))
        heads = range(some.query.shape[0])
        pairs = [float(sum(block.pairs(head) for block in blocks)) for head in heads]
        visited.append(xp.asarray(pairs, device=device))
        if places is not None:
            visited[-1] = xp.take(visited[-1], places, axis=0)
    total = pairs_of(schedule(operands, static, sizes, ops, xp=xp))
    return xp.concat(visited, axis=0), total


def _query_blocks(
    operands: Operands,
    static: StaticProblem,
    sizes: Sizes,
    ops: Operations,
    *,
    return_precision: bool,
    xp: Namespace,
) -> Iterator[BlockResult]:
    """Yield the estimates of one block of queries after another."""
    finite: Array | None = None
    safe = operands
    if not all_finite(operands, static, ops, xp=xp):
        finite = xp.isfinite(operands.value)
        safe = operands._replace(value=xp.where(finite, operands.value, 0.0))
    tiles = tiles_of(safe, static, ops, xp=xp)
    early_exit = EarlyExit(tiles)
    for rows, key_blocks in schedule(operands, static, sizes, ops, xp=xp):
        tiles.evict(key_blocks)
        empty = tiles.empty_sums(rows, return_precision=return_precision)
        yield _query_block(tiles, early_exit, rows, key_blocks, empty, finite)


class HeadSums:
    """The sums of a block of queries: of the heads that go on, and of those that have left."""

    def __init__(self, sums: RunningSums, xp: Namespace) -> None:
        self.active, self.left, self.xp = sums, list[RunningSums](), xp

    def of(self, heads: int) -> RunningSums:
        """Return the sums of the first heads, which are those that go on from now."""
        if heads > self.active.total.shape[0]:  # on the other side of the queries all begin anew
            self.active, self.left = self.all(), []
        if heads < self.active.total.shape[0]:
            self.left.insert(0, trailing_heads(self.active, heads))
            self.active = leading_heads(self.active, heads)
        return self.active

    def all(self) -> RunningSums:
        """Return the sums of all heads."""
        sums: RunningSums = joined_heads([self.active, *self.left], xp=self.xp)
        return sums


def _query_block(
    tiles: Form,
    early_exit: EarlyExit,
    rows: range,
    key_blocks: list[KeyBlock],
    sums: RunningSums,
    finite: Array | None,
) -> BlockResult:
    """Add the tiles of a block of queries to its sums; `finite` tells which values are."""
    ops, xp = tiles.ops, tiles.xp
    row_sums, nonfinite, visits = HeadSums(sums, xp), None, []

    def row_weights(heads: int) -> list[RowWeight]:
        return weights_of_sums(row_sums.of(heads), tiles.leading(heads))

    for visit in early_exit.visits(rows, key_blocks, row_weights):
        block, heads = visit
        some = tiles.leading(heads)
        visible = visible_pairs(some.static, rows, block.columns, some.operands.query, xp=xp)
        row_sums.active = some.add(row_sums.of(heads), rows, block, visible)
        visits.append(visit)
        if finite is not None:
            count = count_nonfinite(visible, ops.cut(finite, block.columns), xp=xp)
            nonfinite = count if nonfinite is None else nonfinite + count
    result = tiles.result(row_sums.all(), rows)
    if nonfinite is not None:
        result = propagate_nan(result, nonfinite, xp=xp)
    return BlockResult(result, rows, visits)


def _joined(results: list[StreamResult], *, axis: int, xp: Namespace) -> StreamResult:
    return StreamResult(*(xp.concat(list(each), axis=axis) for each in zip(*results, strict=True)))
