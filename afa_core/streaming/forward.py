"""Isotropic attention, a panel of queries against one tile of keys after another (spec §9)."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import NamedTuple

from afa_core.arrays import Array, Namespace, device_of
from afa_core.streaming import isotropic
from afa_core.streaming.isotropic import Direct, Keys, Model, Queries, model
from afa_core.streaming.operands import Fixed, Operands
from afa_core.streaming.operations import Operations
from afa_core.streaming.schedule import (
    Order,
    Sizes,
    Step,
    order_of_places,
    order_of_times,
    steps,
    unknown_order,
)
from afa_core.streaming.weights import logits, power_weights
from afa_core.weighting import Uniform


class Sums(NamedTuple):
    """What the keys seen so far add up to, for every query (spec §9).

    `total` is Z = Σ_j exp(βL_ij − peak_i), `carried` is N = Σ_j exp(βL_ij − peak_i) E_ij ṽ_j;
    `claim` has the peak and the sum of exp(L_ij), where β makes it another.
    """

    peak: Array  # (g, n, 1)
    total: Array  # (g, n, 1)
    carried: Array  # (g, n, 2d_v)
    claim: tuple[Array, Array] | None


class Result(NamedTuple):
    """The estimate, turned back to time zero, with what the way back needs."""

    mean: Array  # (g, n, 2d_v)
    precision: Array  # (g, n)
    peak: Array  # (g, n, 1)
    total: Array  # (g, n, 1)


class Scores(NamedTuple):
    """x and Σ of a tile, and E ṽ as (e of queries, f ṽ) or as (E of pairs, ṽ)."""

    x: Array | None
    sigma: Array | None
    decayed: Array  # (g, n, 1) or (g, n, m)
    value: Array  # (g, m, 2d_v)
    queries: Queries | None = None
    keys: Keys | None = None
    direct: Direct | None = None


class Tiles:
    """The tiles of one evaluation; those that come again are kept."""

    def __init__(self, it: Model, sizes: Sizes, ops: Operations, *, xp: Namespace) -> None:
        self.it, self.sizes, self.ops, self.xp = it, sizes, ops, xp
        self.device = device_of(it.o.query)
        self.keys: dict[tuple[range, int], Keys] = {}
        self.tables: dict[tuple[int, int, int], Direct] = {}

    def panels(self) -> Iterator[tuple[range, list[Step]]]:
        """Yield panels of queries, each with the tiles of keys it sees."""
        o, fixed = self.it.o, self.it.fixed
        order: Order = unknown_order
        if fixed.regular:
            order = order_of_places(fixed.visibility)
        elif self.ops.read is not None:
            order = order_of_times(o.query_times, o.key_times, self.ops.read, xp=self.xp)
        return steps(fixed.visibility, self.sizes, order)

    def visible(self, rows: range, step: Step) -> Array | None:
        """Return who sees whom, (g or 1, n, m), None if everyone does."""
        visibility, xp = self.it.fixed.visibility, self.xp
        if step.full and visibility.mask is None:
            return None
        seen = visibility.tile(rows, step.columns, device=self.device, xp=xp)
        if seen is None or seen.ndim == 2:
            return seen
        core = seen.shape[-2:]
        if prod(seen.shape[:-2]) > 1:
            seen = xp.broadcast_to(seen, (*self.it.fixed.leading, *core))
        seen = xp.reshape(seen, (-1, *core))
        return seen if seen.shape[0] == 1 else seen[self.it.fixed.heads, ...]

    def framed_keys(self, step: Step) -> Keys:
        """Return a tile of keys in its frame."""
        own = step.columns, step.frame
        if own not in self.keys:
            self.keys[own] = isotropic.keys_in_frame(self.it, *own, xp=self.xp)
        return self.keys[own]

    def direct(self, rows: range, step: Step, visible: Array | None) -> Direct:
        """Return the lags of a tile without a frame: of regular times, one for every diagonal."""
        columns = step.columns
        if not self.it.fixed.regular:
            return isotropic.directly(self.it, rows, columns, visible, xp=self.xp)
        own = rows.start - columns.start, len(rows), len(columns)
        if own not in self.tables:
            self.tables[own] = isotropic.directly(self.it, rows, columns, None, xp=self.xp)
        return self.tables[own]

    def scores(self, rows: range, step: Step, visible: Array | None) -> Scores:
        """Return what the weights of a tile are made of."""
        it, ops, xp = self.it, self.ops, self.xp
        x = sigma = None
        if step.frame:
            keys = self.framed_keys(step)
            queries = isotropic.queries_in_frame(it, rows, keys.time, step.frame, xp=xp)
            if self.residual:
                x = ops.product(queries.left, xp.matrix_transpose(keys.left))
            if self.spread:
                sigma = ops.product(queries.spread, xp.matrix_transpose(keys.spread))
            found = Scores(x, sigma, queries.at.decayed[..., None], keys.value, queries, keys)
        else:
            direct = self.direct(rows, step, visible)
            if self.residual:
                x = isotropic.direct_x(it, rows, step.columns, direct, ops, xp=xp)
            if self.spread:
                sigma = direct.sigma * it.per_sigma[..., None]
            value = it.o.value[:, step.columns.start : step.columns.stop, :]
            found = Scores(x, sigma, direct.at.decayed, value, direct=direct)
        if x is not None:
            x = ops.maximum(x, it.floor[:, rows.start : rows.stop, :])
        return found._replace(x=x)

    def spotless(self) -> bool:
        """Whether no hidden number can spoil what does not see it."""
        o, visibility, xp = self.it.o, self.it.fixed.visibility, self.xp
        if not visibility.causal and visibility.mask is None:
            return True
        if self.ops.read is None:
            return False
        return all(self.ops.read(xp.all(xp.isfinite(x))) for x in (o.value, o.key_times))

    @property
    def residual(self) -> bool:
        """Whether weights depend on the residual."""
        return self.it.fixed.weighting is not Uniform

    @property
    def spread(self) -> bool:
        """Whether weights depend on Σ by itself."""
        return self.it.power != 1


def forward(
    o: Operands, fixed: Fixed, sizes: Sizes, ops: Operations, *, precise: bool, xp: Namespace
) -> Result:
    """Estimate the state at every query."""
    it = model(o, fixed, ops, xp=xp)
    tiles = Tiles(it, sizes, ops, xp=xp)
    finite = None if tiles.spotless() else xp.isfinite(o.value)
    panels = [_panel(tiles, *each, finite, precise=precise) for each in tiles.panels()]
    return Result(*(xp.concat(list(each), axis=1) for each in zip(*panels, strict=True)))


def _panel(
    tiles: Tiles, rows: range, found: list[Step], finite: Array | None, *, precise: bool
) -> Result:
    """Estimate the state at a panel of queries."""
    it, ops, xp = tiles.it, tiles.ops, tiles.xp
    sums, spoiled = _nothing(it, rows, claim=precise and it.fixed.tempered, xp=xp), None
    for step in found:
        visible = tiles.visible(rows, step)
        scores = tiles.scores(rows, step, visible)
        if finite is not None:
            known = finite[:, step.columns.start : step.columns.stop, :]
            seen = _seen(visible, rows, known, xp=xp)
            own = xp.matmul(seen, xp.astype(xp.logical_not(known), seen.dtype))
            spoiled = own if spoiled is None else spoiled + own
            value = xp.where(xp.isfinite(scores.value), scores.value, 0.0)
            scores = scores._replace(value=value)
        take = _add_powers if it.power else _add_logits
        sums = take(sums, scores, visible, it, ops, xp=xp)
    mean = sums.carried / xp.where(sums.total > 0.0, sums.total, 1.0)
    if spoiled is not None:
        mean = xp.where(spoiled > 0.0, xp.nan, mean)
    peak, total = (sums.peak, sums.total) if sums.claim is None else sums.claim
    return Result(mean, (total * xp.exp(peak))[..., 0], sums.peak, sums.total)


def _nothing(it: Model, rows: range, *, claim: bool, xp: Namespace) -> Sums:
    """Return the sums over no key at all."""
    o = it.o
    device, dtype = device_of(o.query), o.query.dtype
    shape = (o.query.shape[0], len(rows))
    total = xp.zeros((*shape, 1), dtype=dtype, device=device)
    lowest = xp.full((*shape, 1), -xp.inf, dtype=dtype, device=device)
    peak = it.peak[:, rows.start : rows.stop, :] if it.power else lowest
    carried = xp.zeros((*shape, o.value.shape[-1]), dtype=dtype, device=device)
    return Sums(peak, total, carried, (lowest, total) if claim else None)


def _seen(visible: Array | None, rows: range, known: Array, *, xp: Namespace) -> Array:
    """Return who sees whom as numbers, (g or 1, n, m)."""
    device = device_of(known)
    if visible is None:
        return xp.ones((1, len(rows), known.shape[-2]), dtype=xp.float32, device=device)
    return xp.astype(visible if visible.ndim == 3 else visible[None, ...], xp.float32)


def _add_powers(
    sums: Sums, scores: Scores, visible: Array | None, it: Model, ops: Operations, *, xp: Namespace
) -> Sums:
    """Add the weights of a tile that are integer powers."""
    assert scores.x is not None
    weights = power_weights(scores.x, scores.sigma, it.power, ops)
    if visible is not None:
        weights = xp.where(visible, weights, 0.0)
    total = ops.add(sums.total, xp.sum(weights, axis=-1, keepdims=True))
    return sums._replace(total=total, carried=ops.add(sums.carried, _carry(weights, scores, ops)))


def _add_logits(
    sums: Sums, scores: Scores, visible: Array | None, it: Model, ops: Operations, *, xp: Namespace
) -> Sums:
    """Add the weights of a tile through their logarithms, below a running peak."""
    o, fixed = it.o, it.fixed
    logit = logits(fixed.weighting, scores.x, scores.sigma, o.dof[..., None], ops)
    claim = sums.claim
    if claim is not None:
        claim = _raise(*claim, _hide(logit + 0.0, visible, xp=xp), ops, xp=xp)[:2]
    if fixed.tempered:
        logit = ops.multiply(logit, o.inverse_temperature[..., None])
    peak, total, weights, shrink = _raise(
        sums.peak, sums.total, _hide(logit, visible, xp=xp), ops, xp=xp
    )
    carried = ops.multiply(sums.carried, shrink)
    carried = ops.add(carried, _carry(weights, scores, ops))
    return Sums(peak, total, carried, claim)


def _hide(logit: Array, visible: Array | None, *, xp: Namespace) -> Array:
    return logit if visible is None else xp.where(visible, logit, -xp.inf)


def _raise(
    peak: Array, total: Array, logit: Array, ops: Operations, *, xp: Namespace
) -> tuple[Array, Array, Array, Array]:
    """Return the peak and the total with a tile, its weights, and what the sums shrink by."""
    higher = xp.maximum(peak, xp.max(logit, axis=-1, keepdims=True))
    shift = xp.where(higher == -xp.inf, 0.0, higher)
    shrink = xp.exp(peak - shift)
    weights = ops.exp(ops.add(logit, -shift))
    return higher, shrink * total + xp.sum(weights, axis=-1, keepdims=True), weights, shrink


def _carry(weights: Array, scores: Scores, ops: Operations) -> Array:
    """Return Σ_j weight_ij E_ij ṽ_j; may overwrite the weights."""
    if scores.decayed.shape[-1] == weights.shape[-1] > 1:
        return ops.product(ops.multiply(weights, scores.decayed), scores.value)
    return ops.multiply(ops.product(weights, scores.value), scores.decayed)
