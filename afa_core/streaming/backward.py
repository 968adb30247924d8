"""The way back through tiles that are evaluated again: gradients in O(n + m) memory.

With D_ij the derivative of the loss in a weight, those in the x and the Σ of a pair are a few
products; those in tokens are matrix products of them with the other side's factors, and those in
times and parameters follow from these factors in work that grows as n + m.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from afa_core.arrays import Array, Namespace
from afa_core.streaming.forward import Result, Scores, Tiles
from afa_core.streaming.isotropic import Keys, model
from afa_core.streaming.lags import Lagged, slopes
from afa_core.streaming.operands import Fixed, Operands
from afa_core.streaming.operations import Operations
from afa_core.streaming.schedule import Sizes, Step
from afa_core.streaming.weights import PairGradients, logit_gradients, power_gradients
from afa_core.weighting import Rational, StudentT

TOKENS = ("query", "key", "value", "query_times", "key_times")


def backward(
    o: Operands,
    fixed: Fixed,
    sizes: Sizes,
    ops: Operations,
    result: Result,
    by_mean: Array,
    by_precision: Array,
    *,
    xp: Namespace,
) -> Operands:
    """Return the derivatives in all operands from those in the mean and in the precision."""
    # What is not finite has made NaN of the rows that see it; for all others it must be no NaN.
    o = o._replace(**{name: _finite(getattr(o, name), xp=xp) for name in TOKENS})
    tiles = Tiles(model(o, fixed, ops, xp=xp), sizes, ops, xp=xp)
    back = Backward(tiles)
    for rows, found in tiles.panels():
        own = slice(rows.start, rows.stop)
        panel = Result(*(x[:, own, ...] for x in result))
        back.panel(rows, found, panel, by_mean[:, own, :], by_precision[:, own])
    return back.gathered()


def _finite(x: Array, *, xp: Namespace) -> Array:
    """Zero the tokens that are not finite."""
    known = xp.isfinite(x)
    return xp.where(xp.all(known, axis=-1, keepdims=True) if x.ndim == 3 else known, x, 0.0)


class Backward:
    """Derivatives gathered panel by panel: parameters summed, tokens piece by piece."""

    def __init__(self, tiles: Tiles) -> None:
        self.tiles, self.it, self.ops, self.xp = tiles, tiles.it, tiles.ops, tiles.xp
        self.sums: dict[str, Array] = {}
        self.pieces: dict[str, list[tuple[range, Array]]] = {name: [] for name in TOKENS}
        self.framed: dict[tuple[range, int], tuple[Keys, list[Array]]] = {}

    def panel(
        self, rows: range, found: list[Step], result: Result, by_mean: Array, by_precision: Array
    ) -> None:
        """Take a panel of queries back through the tiles it saw."""
        it, ops, xp = self.it, self.ops, self.xp
        whole = xp.where(result.total > 0.0, 1.0 / result.total, 0.0)
        by_carried = by_mean * whole  # derivative in N
        by_total = -xp.sum(by_mean * result.mean, axis=-1, keepdims=True) * whole
        by_claim = by_precision[..., None]
        if not it.fixed.tempered:
            by_total = by_total + by_claim * xp.exp(result.peak)
        for step in found:
            visible = self.tiles.visible(rows, step)
            scores = self.tiles.scores(rows, step, visible)
            outward = by_carried * scores.decayed if step.frame else by_carried
            along = ops.product(outward, xp.matrix_transpose(scores.value))
            along = along if step.frame else along * scores.decayed
            pairs = self._pairs(scores, along + by_total, by_claim, result.peak, visible)
            self._rows_of(pairs)
            if scores.queries is not None:
                self._framed(rows, step, scores, pairs, outward, by_total)
            else:
                self._direct(rows, step, scores, pairs, by_carried, by_total)

    def _pairs(
        self, scores: Scores, by_weight: Array, by_claim: Array, peak: Array, visible: Array | None
    ) -> PairGradients:
        it, fixed = self.it, self.it.fixed
        common = (by_weight, visible, self.ops)
        if it.power:
            return power_gradients(scores.x, scores.sigma, it.power, *common, xp=self.xp)
        return logit_gradients(
            fixed.weighting,
            scores.x,
            scores.sigma,
            it.o.dof[..., None],
            it.o.inverse_temperature[..., None] if fixed.tempered else None,
            peak,
            by_claim,
            *common,
            xp=self.xp,
        )

    def _rows_of(self, pairs: PairGradients) -> None:
        """Add what a tile says of ν_s and β."""
        if pairs.dof is not None:
            self._add("dof", pairs.dof)
        if pairs.inverse_temperature is not None:
            self._add("inverse_temperature", pairs.inverse_temperature)

    def _framed(
        self,
        rows: range,
        step: Step,
        scores: Scores,
        pairs: PairGradients,
        outward: Array,
        by_total: Array,
    ) -> None:
        """Go back through the factors of a tile to its queries, and gather those of its keys."""
        it, ops, xp = self.it, self.ops, self.xp
        o, own = it.o, slice(rows.start, rows.stop)
        queries, keys = scores.queries, scores.keys
        assert queries is not None
        assert keys is not None
        swap = xp.matrix_transpose
        e = queries.at.decayed
        by_keys = [ops.product(swap(pairs.weights), outward)]
        # Σ_j of weight · E · derivative in E: what is carried but for the constant of its row
        by_log = xp.sum(pairs.carried - pairs.weights * by_total, axis=-1)
        by_still, by_square = xp.zeros_like(by_log), xp.zeros_like(by_log)
        if pairs.x is not None:
            width = o.query.shape[-1]
            by_left = ops.product(pairs.x, keys.left) * it.per_x[:, own, :]
            turned = by_left[..., :width]
            by_first, by_square = by_left[..., width], by_left[..., width + 1]
            by_still = by_first if it.power else by_still
            query, query2 = o.query[:, own, :], it.query2[:, own]
            by_product = -2.0 * e * xp.sum(query * turned, axis=-1)
            self._add("c", by_product + query2 * by_first)
            by_log = by_log + it.c * by_product
            by_query = (-2.0 * it.c * e)[..., None] * turned
            by_query = by_query + (2.0 * it.c * by_first)[..., None] * query
            self.pieces["query"].append((rows, by_query))
            by_keys.append(ops.product(swap(pairs.x), queries.left))
        if pairs.sigma is not None:
            by_spread = ops.product(pairs.sigma, keys.spread) * it.per_sigma[..., None]
            by_still, by_square = by_still + by_spread[..., 0], by_square + by_spread[..., 1]
            by_keys.append(ops.product(swap(pairs.sigma), queries.spread))
        by_log = by_log + 2.0 * e * e * by_square
        self._add("anchor", by_still)
        self._lags("query_times", rows, step.frame, queries.at, by_log, by_still)
        index = step.columns, step.frame
        if index in self.framed:
            by_keys = [ops.add(x, y) for x, y in zip(self.framed[index][1], by_keys, strict=True)]
        self.framed[index] = keys, by_keys

    def _keys(self, columns: range, frame: int, keys: Keys, by: list[Array]) -> None:
        """Go back from the factors of a tile of keys to its tokens."""
        it, xp = self.it, self.xp
        o, own = it.o, slice(columns.start, columns.stop)
        key, key2 = o.key[:, own, :], it.key2[:, own]
        f, by_value, rest = keys.at.decayed, by[0], by[1:]
        self.pieces["value"].append((columns, f[..., None] * by_value))
        by_log = xp.sum(keys.value * by_value, axis=-1)
        by_variance = xp.zeros_like(by_log)
        if self.tiles.residual:
            by_left, rest = rest[0], rest[1:]
            turned, last = by_left[..., : key.shape[-1]], by_left[..., -1]
            by_log = by_log + f * xp.sum(key * turned, axis=-1)
            by_log = by_log + 2.0 * it.c * f * f * key2 * last
            by_variance = last if it.power else by_variance
            self._add("c", f * f * key2 * last)
            by_key = f[..., None] * turned + (2.0 * it.c * f * f * last)[..., None] * key
            self.pieces["key"].append((columns, by_key))
        if rest:
            by_variance = by_variance + rest[0][..., 1]
        by_log = by_log + 2.0 * f * f * o.measurement * by_variance
        self._add("measurement", f * f * by_variance)
        self._lags("key_times", columns, -frame, keys.at, by_log, by_variance)

    def _direct(
        self,
        rows: range,
        step: Step,
        scores: Scores,
        pairs: PairGradients,
        by_carried: Array,
        by_total: Array,
    ) -> None:
        """Go back through a tile whose pairs have each their own lag."""
        it, ops, xp = self.it, self.ops, self.xp
        o, direct = it.o, scores.direct
        assert direct is not None
        mine, theirs = slice(rows.start, rows.stop), slice(step.columns.start, step.columns.stop)
        query, key = o.query[:, mine, :], o.key[:, theirs, :]
        swap = xp.matrix_transpose
        decayed, square = direct.at.decayed, direct.at.decayed * direct.at.decayed
        by_value = ops.product(swap(pairs.weights * decayed), by_carried)
        self.pieces["value"].append((step.columns, by_value))
        by_log = pairs.carried - pairs.weights * by_total
        by_sigma = xp.zeros_like(by_log)
        if pairs.x is not None:
            by_x = pairs.x * it.per_x[:, mine, :]
            c, query2 = it.c[..., None], it.query2[:, mine, None]
            key2 = it.key2[:, None, theirs]
            product = decayed * ops.product(query, swap(key))
            turned, faded = by_x * decayed, by_x * square
            row, column = xp.sum(by_x, axis=-1), xp.sum(faded, axis=-2)
            by_query = 2.0 * c * (row[..., None] * query - ops.product(turned, key))
            by_key = 2.0 * c * (column[..., None] * key - ops.product(swap(turned), query))
            self.pieces["query"].append((rows, by_query))
            self.pieces["key"].append((step.columns, by_key))
            self._add("c", by_x * (query2 + square * key2 - 2.0 * product))
            by_log = by_log + 2.0 * c * by_x * (square * key2 - product)
            by_sigma = by_x if it.power else by_sigma
        if pairs.sigma is not None:
            by_sigma = by_sigma + pairs.sigma * it.per_sigma[..., None]
        by_log = by_log + 2.0 * square * o.measurement[..., None] * by_sigma
        self._add("anchor", by_sigma)
        self._add("measurement", square * by_sigma)
        found = slopes(direct.at, o.decay[..., None], o.process[..., None], by_log, by_sigma, xp=xp)
        self._add("decay", found.decay)
        self._add("process", found.process)
        by_lag = direct.sign * found.lag
        self.pieces["query_times"].append((rows, self._wide(xp.sum(by_lag, axis=-1))))
        self.pieces["key_times"].append((step.columns, self._wide(-xp.sum(by_lag, axis=-2))))

    def _lags(
        self, name: str, tokens: range, sign: int, at: Lagged, by_log: Array, by_variance: Array
    ) -> None:
        """Go back from E and V of lags to decay, process noise and times."""
        o = self.it.o
        found = slopes(at, o.decay, o.process, by_log, by_variance, xp=self.xp)
        self._add("decay", found.decay)
        self._add("process", found.process)
        self.pieces[name].append((tokens, self._wide(sign * found.lag)))

    def _wide(self, x: Array) -> Array:
        return self.xp.astype(x, self.it.o.key_times.dtype, copy=False)

    def _add(self, name: str, x: Any) -> None:
        """Add the derivative in a parameter, summed over all but the heads."""
        while x.ndim > 2:
            x = self.xp.sum(x, axis=-1)
        x = self.xp.sum(x, axis=-1, keepdims=True)
        self.sums[name] = self.sums[name] + x if name in self.sums else x

    def gathered(self) -> Operands:
        """Return all derivatives."""
        o = self.it.o
        for (columns, frame), (keys, by) in self.framed.items():
            self._keys(columns, frame, keys, by)
        zero = self.xp.zeros_like(o.decay)
        found = {name: self._whole(name, getattr(o, name)) for name in TOKENS}
        found |= {name: self.sums.get(name, zero) for name in Operands._fields if name not in found}
        if self.it.fixed.weighting in (StudentT, Rational):  # c = 1/(ν_s d)
            found["dof"] = found["dof"] - self.sums.get("c", zero) * self.it.c / o.dof
        return Operands(**found)

    def _whole(self, name: str, like: Array) -> Array:
        """Put pieces together, added where they overlap; zero where there is none."""
        xp, found = self.xp, self.pieces[name]
        ends = {b for own, _ in found for b in (own.start, own.stop)}
        borders = sorted({0, like.shape[1]} | ends)
        parts = []
        for start, stop in pairwise(borders):
            part = xp.zeros_like(like[:, start:stop, ...])
            for own, x in found:
                if own.start <= start and stop <= own.stop:
                    part = part + x[:, start - own.start : stop - own.start, ...]
            parts.append(part)
        return xp.concat(parts, axis=1) if parts else xp.zeros_like(like)
