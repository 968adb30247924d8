"""Back through a tile of isotropic attention, to its tokens, times and parameters."""

from __future__ import annotations

from typing import Any

from afa_core._array.arrays import Array
from afa_core.model.weighting import Rational, StudentT
from afa_core.streaming.blocks import Step
from afa_core.streaming.forward.isotropic import Isotropic, Keys, Scores
from afa_core.streaming.forward.sums import Result
from afa_core.streaming.lags import Lagged, bend, lagged, slopes
from afa_core.streaming.pair_weights import Along, PairGradients, logit_gradients, power_gradients
from afa_core.streaming.tiles import Back


class IsotropicBack(Back[Isotropic]):
    """Derivatives of the tiles of one evaluation, a panel of queries at a time."""

    def panel(self, rows: Any, result: Result, by_mean: Array, by_precision: Array) -> None:
        """Begin a panel: derivatives in N, in Z, and in every exp(L) of a row."""
        xp = self.xp
        if self.it.power:  # keys elsewhere may have given the result another unit
            unit = self.ops.cut(self.it.unit.peak, rows)
            result = result._replace(peak=unit, total=result.total * xp.exp(result.peak - unit))
        whole = xp.where(result.total > 0.0, 1.0 / result.total, 0.0)
        self.peak, self.by_claim = result.peak, by_precision
        self.by_carried = by_mean * whole
        self.by_total = -xp.sum(by_mean * result.mean, axis=-1, keepdims=True) * whole
        if not self.it.fixed.tempered:
            self.by_total = self.by_total + by_precision * xp.exp(result.peak)

    def tile(self, rows: Any, step: Step, visible: Array | None) -> None:
        """Take the panel back through a tile."""
        scores = self.it.scores(rows, step, visible)
        outward = self.by_carried * scores.decayed if step.frame else self.by_carried
        along = self.it.rooms.product("along", outward, self.xp.matrix_transpose(scores.value))
        along = along if step.frame else along * scores.decayed
        pairs = self._pairs(scores, Along(along, self.by_total, bool(step.frame)), visible)
        if pairs.dof is not None:
            self._add("dof", pairs.dof)
        if pairs.inverse_temperature is not None:
            self._add("inverse_temperature", pairs.inverse_temperature)
        if step.frame:
            self._framed(rows, step, scores, pairs, outward)
        else:
            self._direct(rows, step, scores, pairs, visible)

    def _pairs(self, scores: Scores, along: Along, visible: Array | None) -> PairGradients:
        it, fixed = self.it, self.it.fixed
        if it.power:
            x, sigma = scores.x, scores.sigma
            return power_gradients(x, sigma, it.power, along, visible, it.rooms, xp=self.xp)
        return logit_gradients(
            fixed.weighting,
            scores.x,
            scores.sigma,
            it.o.dof,
            it.o.inverse_temperature if fixed.tempered else None,
            self.peak,
            self.by_claim,
            along,
            visible,
            self.ops,
            xp=self.xp,
        )

    def _framed(
        self, rows: Any, step: Step, scores: Scores, pairs: PairGradients, outward: Array
    ) -> None:
        """Go back through the factors of a tile to its queries, and gather those of its keys."""
        it, ops, rooms, xp = self.it, self.ops, self.it.rooms, self.xp
        queries, keys = scores.queries, scores.keys
        assert queries is not None
        assert keys is not None
        swap = xp.matrix_transpose
        e = queries.at.decayed
        by_keys = [rooms.product("by_value", swap(pairs.weights), outward)]
        by_log = pairs.log
        by_still, by_square = xp.zeros_like(by_log), xp.zeros_like(by_log)
        if pairs.x is not None:
            query, query2 = ops.cut(it.o.query, rows), ops.cut(it.norms.query, rows)
            per_x = pairs.scale[0] * ops.cut(it.unit.per_x, rows)
            turned = ops.product(pairs.x, keys.turned) * per_x
            by_first = xp.sum(pairs.x, axis=-1, keepdims=True) * per_x
            by_square = rooms.over_keys(pairs.x, swap(keys.last), xp=xp) * per_x
            by_still = by_first if it.power else by_still
            by_product = -2.0 * e * xp.sum(query * turned, axis=-1, keepdims=True)
            self._scale(by_product + query2 * by_first)
            by_log = by_log + it.c * by_product
            by_query = (-2.0 * it.c * e) * turned
            by_query = by_query + (2.0 * it.c * by_first) * query
            self.gather.tokens("query", rows, by_query)
            by_keys += [
                rooms.product("by_key", swap(pairs.x), pairs.scale[0] * queries.turned),
                pairs.scale[0] * rooms.over_queries(pairs.x, queries.square, xp=xp),
            ]
        if pairs.sigma is not None:
            per_sigma = pairs.scale[1] * it.unit.per_sigma
            by_still = by_still + xp.sum(pairs.sigma, axis=-1, keepdims=True) * per_sigma
            spread = rooms.over_keys(pairs.sigma, swap(keys.spread), xp=xp)
            by_square = by_square + spread * per_sigma
            spread = rooms.over_queries(pairs.sigma, queries.spread, xp=xp)
            by_keys.append(pairs.scale[1] * spread)
        by_log = by_log + 2.0 * e * e * by_square
        self._add("query_noise", by_still)
        self._lags("query_times", rows, step.frame, queries.at, by_log, by_still)
        self._gather_keys(step, keys, by_keys)

    def _keys(self, step: Step, keys: Keys, by: list[Array]) -> None:
        """Go back from the factors of a tile of keys to its tokens."""
        it, ops, xp = self.it, self.ops, self.xp
        key, key2 = ops.cut(it.o.key, step.columns), ops.cut(it.norms.key, step.columns)
        f, by_value, rest = keys.at.decayed, by[0], by[1:]
        self.gather.tokens("value", step.columns, f * by_value)
        by_log = xp.sum(keys.value * by_value, axis=-1, keepdims=True)
        by_variance = xp.zeros_like(by_log)
        if it.residual:
            turned, last, *rest = rest
            by_log = by_log + f * xp.sum(key * turned, axis=-1, keepdims=True)
            by_log = by_log + 2.0 * it.c * f * f * key2 * last
            by_variance = last if it.power else by_variance
            self._scale(f * f * key2 * last)
            by_key = f * turned + (2.0 * it.c * f * f * last) * key
            self.gather.tokens("key", step.columns, by_key)
        if rest:
            by_variance = by_variance + rest[0]
        by_log = by_log + 2.0 * f * f * it.o.measurement * by_variance
        self._add("measurement", f * f * by_variance)
        self._lags("key_times", step.columns, -step.frame, keys.at, by_log, by_variance)

    def _direct(
        self, rows: Any, step: Step, scores: Scores, pairs: PairGradients, visible: Array | None
    ) -> None:
        """Go back through a tile whose pairs have each their own lag."""
        it, ops, rooms, xp = self.it, self.ops, self.it.rooms, self.xp
        o, c, direct, columns, swap = it.o, it.c, scores.direct, step.columns, xp.matrix_transpose
        assert direct is not None
        decayed, gather = direct.decayed, self.gather
        square = rooms.outer("square", decayed, decayed)

        def weighed(x: Array, y: Array) -> Array:
            return rooms.outer("weighed", x, y)

        by_value = ops.product(swap(weighed(pairs.weights, decayed)), self.by_carried)
        gather.tokens("value", columns, by_value)
        by_log, by_sigma = pairs.log, pairs.sigma
        if by_sigma is not None:
            by_sigma = rooms.outer("by_sigma", by_sigma, pairs.scale[1] * it.unit.per_sigma)
        if pairs.x is not None:
            by_x = ops.multiply(pairs.x, pairs.scale[0] * ops.cut(it.unit.per_x, rows))
            query, query2 = ops.cut(o.query, rows), ops.cut(it.norms.query, rows)
            key, key2 = ops.cut(o.key, columns), ops.cut(it.norms.key, columns)
            turned, faded = rooms.outer("turned", by_x, decayed), rooms.outer("faded", by_x, square)
            row = xp.sum(by_x, axis=-1, keepdims=True)
            column = xp.sum(faded, axis=-2)[..., None]
            by_product = rooms.product("product", query, swap(key))
            by_product = ops.multiply(by_product, turned)
            by_query = row * query - ops.product(turned, key)
            by_key = column * key - ops.product(swap(turned), query)
            gather.tokens("query", rows, 2.0 * c * by_query)
            gather.tokens("key", columns, 2.0 * c * by_key)
            whole = _total(query2 * row, xp=xp) + _total(key2 * column, xp=xp)
            self._scale(whole - 2.0 * _total(by_product, xp=xp))
            by_log = ops.add(by_log, ops.multiply(by_product, -2.0 * c))
            by_log = ops.add(by_log, weighed(faded, 2.0 * c * swap(key2)))
            if it.power:
                by_sigma = by_x if by_sigma is None else ops.add(by_sigma, by_x)
        assert by_sigma is not None
        by_spread = rooms.outer("spread", by_sigma, square)
        self._add("query_noise", by_sigma)
        self._add("measurement", by_spread)
        by_log = ops.add(by_log, weighed(by_spread, 2.0 * o.measurement))
        lag, walk, bent = it.of_lags("slopes", self._of_lag, rows, columns, visible)
        by_decay = ops.multiply(rooms.outer("by_decay", by_sigma, bent), o.process)
        self._add("decay", ops.subtract(by_decay, weighed(by_log, lag)))  # cancels pair by pair
        self._add("process", weighed(by_sigma, walk))
        if not it.fixed.regular:  # else times were not given, and nobody asks
            sign = xp.sign(xp.astype(it.lag(rows, columns), o.query.dtype, copy=False))
            by_lag = (sign if visible is None else xp.where(visible, sign, 0.0)) * (
                o.process * by_spread - o.decay * by_log
            )
            gather.tokens("query_times", rows, self._wide(xp.sum(by_lag, axis=-1)))
            gather.tokens("key_times", columns, self._wide(-xp.sum(by_lag, axis=-2)))

    def _of_lag(self, lag: Array) -> tuple[Array, ...]:
        decay = self.it.o.decay
        walk = lagged(lag, decay, xp=self.xp).walk
        return lag + 0.0 * decay, walk, bend(lag, decay, xp=self.xp)

    def _lags(
        self, name: str, tokens: Any, sign: int, at: Lagged, by_log: Array, by_variance: Array
    ) -> None:
        """Go back from E and V of lags to decay, process noise and times."""
        o = self.it.o
        bent = bend(at.lag, o.decay, xp=self.xp)
        found = slopes(at, bent, o.decay, o.process, by_log, by_variance)
        self._add("decay", found.decay)
        self._add("process", found.process)
        self.gather.tokens(name, tokens, self._wide(sign * found.lag[..., 0]))

    def _scale(self, x: Array) -> None:
        """Add the derivative in c = 1/(ν_s d)."""
        if self.it.fixed.weighting in (StudentT, Rational):
            self._add("dof", -self.it.c / self.it.o.dof * _total(x, xp=self.xp))

    def _add(self, name: str, x: Array) -> None:
        """Add the derivative in a parameter of the heads."""
        self.gather.parameter(name, _total(x, xp=self.xp))


def _total(x: Array, *, xp: Any) -> Array:
    """Sum over all but the heads, (g, 1, 1)."""
    while x.ndim > 1:
        x = xp.sum(x, axis=-1)
    return x[:, None, None]
