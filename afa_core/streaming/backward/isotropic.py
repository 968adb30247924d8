"""Gradients of a tile of isotropic attention: tokens, times and parameters."""

from __future__ import annotations

from afa_core._array.arrays import Array, Namespace
from afa_core._array.masks import TokenRange
from afa_core.model.weighting import Rational, StudentT
from afa_core.streaming.backward.pair_grads import PairGrads, WeightGrads, logit_grads, power_grads
from afa_core.streaming.backward.tiles import TileBackward
from afa_core.streaming.blocks import KeyBlock
from afa_core.streaming.forward.isotropic import Isotropic
from afa_core.streaming.forward.isotropic_factors import IsotropicKeys, IsotropicScores
from afa_core.streaming.forward.sums import StreamResult
from afa_core.streaming.lags import LagFactors, d_variance_d_decay, lag_factors, lag_grads


class IsotropicBackward(TileBackward[Isotropic]):
    """Gradients of the tiles of one evaluation of the isotropic form."""

    def query_block(
        self, rows: TokenRange, result: StreamResult, grad_mean: Array, grad_precision: Array
    ) -> None:
        """Begin a block of queries with the gradients of N, of Z, and of every exp(L) of a row."""
        xp = self.xp
        if self.tiles.power:  # a merged result may have another peak
            unit = self.ops.cut(self.tiles.unit.peak, rows)
            result = result._replace(peak=unit, total=result.total * xp.exp(result.peak - unit))
        inverse = xp.where(result.total > 0.0, 1.0 / result.total, 0.0)
        self.peak, self.grad_untempered = result.peak, grad_precision
        self.grad_carried = grad_mean * inverse
        self.grad_total = -xp.sum(grad_mean * result.mean, axis=-1, keepdims=True) * inverse
        if not self.tiles.static.has_temperature:
            self.grad_total = self.grad_total + grad_precision * xp.exp(result.peak)

    def prior_mean(self, rows: TokenRange) -> None:
        """Add the gradients of a query block through the weight of the prior's mean."""
        self._add_missing(rows, self.peak, self.grad_total, self.grad_untempered)

    def tile(self, rows: TokenRange, block: KeyBlock, visible: Array | None) -> None:
        """Add the gradients that one tile of the query block contributes."""
        scores, swap = self.tiles.scores(rows, block, visible), self.xp.matrix_transpose
        outward = self.grad_carried * scores.decayed if block.order else self.grad_carried
        carried = self.tiles.workspace.product("weight_grad", outward, swap(scores.value))
        carried = carried if block.order else carried * scores.decayed
        grad_total = self.grad_total
        if scores.influence is not None and not self.tiles.in_logarithms:
            grad_total = scores.influence.in_row(grad_total)
        weight_grads = WeightGrads(carried, grad_total, bool(block.order))
        pairs = self._pair_grads(scores, weight_grads, visible)
        for name in ("dof", "inverse_temperature"):
            if (grad := getattr(pairs, name)) is not None:
                self._add(name, grad)
        if block.order:
            self._factored(rows, block, scores, pairs, outward)
        else:
            self._pairwise(rows, block, scores, pairs, visible)

    def _pair_grads(
        self, scores: IsotropicScores, grads: WeightGrads, visible: Array | None
    ) -> PairGrads:
        """Propagate the gradients in the weights of a tile to its x, Σ and log E."""
        tiles, operands, x, sigma = self.tiles, self.tiles.operands, scores.x, scores.sigma
        influence, workspace = scores.influence, tiles.workspace
        if tiles.power:
            prior = None if influence is None else influence.of_keys
            return power_grads(x, sigma, tiles.power, prior, grads, visible, workspace, xp=self.xp)
        beta = operands.inverse_temperature if tiles.static.has_temperature else None
        terms = () if influence is None else influence.terms()
        of_row = self.peak, self.grad_untempered
        weighting, dof = tiles.static.weighting, operands.dof
        return logit_grads(
            weighting, x, sigma, dof, beta, terms, *of_row, grads, visible, self.ops, xp=self.xp
        )

    def _factored(
        self,
        rows: TokenRange,
        block: KeyBlock,
        scores: IsotropicScores,
        pairs: PairGrads,
        outward: Array,
    ) -> None:
        """Propagate to the queries of a tile with a reference time; sum those of its key block."""
        tiles, workspace, swap = self.tiles, self.tiles.workspace, self.xp.matrix_transpose
        queries, keys = scores.queries, scores.keys
        assert queries is not None
        assert keys is not None
        key_grads = [workspace.product("grad_value", swap(pairs.weights), outward)]
        grad_log = pairs.log_decay
        grad_a, grad_square = (self.xp.zeros_like(grad_log) for _ in range(2))
        if pairs.x is not None:
            grad_log, grad_x_term, grad_square = self._factored_x(rows, scores, pairs)
            grad_a = grad_x_term if tiles.power else grad_a
            scale = pairs.scale[0]
            key_grads += [
                workspace.product("grad_key", swap(pairs.x), scale * queries.query),
                scale * workspace.sum_over_queries(pairs.x, queries.x_factor, xp=self.xp),
            ]
        if pairs.sigma is not None:
            scale, sums = pairs.scale[1], self.xp.sum(pairs.sigma, axis=-1, keepdims=True)
            per_sigma = scale * self.ops.cut(tiles.unit.per_sigma, rows)
            by_key = workspace.sum_over_keys(pairs.sigma, swap(keys.sigma_term), xp=self.xp)
            grad_a, grad_square = grad_a + sums * per_sigma, grad_square + by_key * per_sigma
            by_query = workspace.sum_over_queries(pairs.sigma, queries.sigma_factor, xp=self.xp)
            key_grads.append(scale * by_query)
        if tiles.correlated:
            by_row = self.xp.sum(pairs.log_weight, axis=-1, keepdims=True)
            self._add_query_levels(rows, block.order, by_row)
            key_grads.append(self.xp.sum(pairs.log_weight, axis=-2)[..., None])
        e = queries.factors.decayed
        grad_log = grad_log + 2.0 * e * e * grad_square
        self._add_query_noise(rows, grad_a)
        self._add_lags("query_times", rows, block.order, queries.factors, grad_log, grad_a)
        self._add_key_grads(block, keys, key_grads)

    def _factored_x(
        self, rows: TokenRange, scores: IsotropicScores, pairs: PairGrads
    ) -> tuple[Array, Array, Array]:
        """Propagate the gradient in x to the queries; return those in log e, x term and e²."""
        tiles, ops, xp = self.tiles, self.ops, self.xp
        queries, keys, c = scores.queries, scores.keys, tiles.c
        assert queries is not None
        assert keys is not None
        assert pairs.x is not None
        e = queries.factors.decayed
        query, query2 = ops.cut(tiles.operands.query, rows), ops.cut(tiles.norms.query, rows)
        per_x = pairs.scale[0] * ops.cut(tiles.unit.per_x, rows)
        by_keys = ops.product(pairs.x, keys.key) * per_x
        grad_x_term = xp.sum(pairs.x, axis=-1, keepdims=True) * per_x
        x_terms = xp.matrix_transpose(keys.x_term)
        grad_square = tiles.workspace.sum_over_keys(pairs.x, x_terms, xp=xp) * per_x
        grad_product = -2.0 * e * xp.sum(query * by_keys, axis=-1, keepdims=True)
        self._add_scale(grad_product + query2 * grad_x_term)
        grad_query = (-2.0 * c * e) * by_keys
        grad_query = grad_query + (2.0 * c * grad_x_term) * query
        self.grads.tokens("query", rows, grad_query)
        return pairs.log_decay + c * grad_product, grad_x_term, grad_square

    def _key_grads(self, block: KeyBlock, keys: IsotropicKeys, grads: list[Array]) -> None:
        """Propagate the gradients of a key block's factors to its tokens and parameters."""
        tiles, ops, xp, columns = self.tiles, self.ops, self.xp, block.columns
        key, key2 = ops.cut(tiles.operands.key, columns), ops.cut(tiles.norms.key, columns)
        f, grad_value, rest = keys.factors.decayed, grads[0], grads[1:]
        self.grads.tokens("value", columns, f * grad_value)
        grad_log = xp.sum(keys.value * grad_value, axis=-1, keepdims=True)
        grad_variance = xp.zeros_like(grad_log)
        if tiles.residual:
            by_queries, grad_x_term, *rest = rest
            grad_log = grad_log + f * xp.sum(key * by_queries, axis=-1, keepdims=True)
            grad_log = grad_log + 2.0 * tiles.c * f * f * key2 * grad_x_term
            grad_variance = grad_x_term if tiles.power else grad_variance
            self._add_scale(f * f * key2 * grad_x_term)
            grad_key = f * by_queries + (2.0 * tiles.c * f * f * grad_x_term) * key
            self.grads.tokens("key", columns, grad_key)
        if tiles.correlated:
            *rest, by_query = rest
            self._add_key_levels(columns, block.order, by_query)
        if rest:
            grad_variance = grad_variance + rest[0]
        grad_log = grad_log + 2.0 * f * f * tiles.operands.measurement * grad_variance
        self._add("measurement", f * f * grad_variance)
        self._add_lags("key_times", columns, -block.order, keys.factors, grad_log, grad_variance)

    def _pairwise(
        self,
        rows: TokenRange,
        block: KeyBlock,
        scores: IsotropicScores,
        pairs: PairGrads,
        visible: Array | None,
    ) -> None:
        """Propagate to the tokens and parameters of a tile without a reference time."""
        tiles, ops, workspace = self.tiles, self.ops, self.tiles.workspace
        decayed = scores.decayed
        weighted = workspace.outer("weighted", pairs.weights, decayed)
        grad_value = ops.product(self.xp.matrix_transpose(weighted), self.grad_carried)
        self.grads.tokens("value", block.columns, grad_value)
        if scores.influence is not None:
            grad_log_influence, past = pairs.log_weight[:, None, ...], scores.influence.past
            self._add_pair_levels(rows, block.columns, grad_log_influence, past)
        square = workspace.outer("square", decayed, decayed)
        grad_log, grad_sigma = pairs.log_decay, pairs.sigma
        if grad_sigma is not None:
            per_sigma = pairs.scale[1] * ops.cut(tiles.unit.per_sigma, rows)
            grad_sigma = workspace.outer("grad_sigma", grad_sigma, per_sigma)
        if pairs.x is not None:
            per_x = pairs.scale[0] * ops.cut(tiles.unit.per_x, rows)
            grad_x = ops.multiply(pairs.x, per_x)
            grad_log = self._pairwise_x(rows, block.columns, decayed, square, grad_x, grad_log)
            if tiles.power:
                grad_sigma = grad_x if grad_sigma is None else ops.add(grad_sigma, grad_x)
        if grad_sigma is None:  # the uniform weights of correlated keys
            grad_sigma = self.xp.zeros_like(grad_log)
        self._pairwise_lags(rows, block.columns, square, grad_log, grad_sigma, visible)

    def _pairwise_x(
        self,
        rows: TokenRange,
        columns: TokenRange,
        decayed: Array,
        square: Array,
        grad_x: Array,
        grad_log: Array,
    ) -> Array:
        """Propagate the gradient in x to the tokens; return that in log E, written to `grad_log`.

        `square` is E².
        """
        tiles, ops, workspace, xp = self.tiles, self.ops, self.tiles.workspace, self.xp
        c, swap = tiles.c, xp.matrix_transpose
        query, query2 = ops.cut(tiles.operands.query, rows), ops.cut(tiles.norms.query, rows)
        key, key2 = ops.cut(tiles.operands.key, columns), ops.cut(tiles.norms.key, columns)
        once = workspace.outer("once", grad_x, decayed)
        twice = workspace.outer("twice", grad_x, square)
        by_row = xp.sum(grad_x, axis=-1, keepdims=True)
        by_column = xp.sum(twice, axis=-2)[..., None]
        grad_product = workspace.product("product", query, swap(key))
        grad_product = ops.multiply(grad_product, once)
        grad_query = by_row * query - ops.product(once, key)
        grad_key = by_column * key - ops.product(swap(once), query)
        self.grads.tokens("query", rows, 2.0 * c * grad_query)
        self.grads.tokens("key", columns, 2.0 * c * grad_key)
        squares = _total(query2 * by_row, xp=xp) + _total(key2 * by_column, xp=xp)
        self._add_scale(squares - 2.0 * _total(grad_product, xp=xp))
        grad_log = ops.add(grad_log, ops.multiply(grad_product, -2.0 * c))
        return ops.add(grad_log, workspace.outer("weighted", twice, 2.0 * c * swap(key2)))

    def _pairwise_lags(
        self,
        rows: TokenRange,
        columns: TokenRange,
        square: Array,
        grad_log: Array,
        grad_sigma: Array,
        visible: Array | None,
    ) -> None:
        """Propagate the gradients in log E and Σ of pairs to the noises, the decay and times."""
        tiles, ops, workspace, xp = self.tiles, self.ops, self.tiles.workspace, self.xp
        operands = tiles.operands

        def weighted(x: Array, y: Array) -> Array:
            return workspace.outer("weighted", x, y)

        grad_measurement = workspace.outer("grad_measurement", grad_sigma, square)
        self._add_query_noise(rows, xp.sum(grad_sigma, axis=-1, keepdims=True))
        self._add("measurement", grad_measurement)
        grad_log = ops.add(grad_log, weighted(grad_measurement, 2.0 * operands.measurement))
        lag, unit_variance, d_variance = tiles.functions_of_lag(
            "derivatives", self._of_lag, rows, columns, visible
        )
        grad_decay = workspace.outer("grad_decay", grad_sigma, d_variance)
        grad_decay = ops.multiply(grad_decay, operands.process)
        # the two terms cancel pair by pair
        self._add("decay", ops.subtract(grad_decay, weighted(grad_log, lag)))
        self._add("process", weighted(grad_sigma, unit_variance))
        if tiles.static.regular:  # times were not given and have no gradient
            return
        sign = xp.sign(tiles.narrow(tiles.lag(rows, columns)))
        sign = sign if visible is None else xp.where(visible, sign, 0.0)
        grad_lag = sign * (operands.process * grad_measurement - operands.decay * grad_log)
        self.grads.tokens("query_times", rows, self._time_column(xp.sum(grad_lag, axis=-1)))
        self.grads.tokens("key_times", columns, self._time_column(-xp.sum(grad_lag, axis=-2)))

    def _of_lag(self, lag: Array) -> tuple[Array, ...]:
        """Return the lag, V/σ² and its derivative in the decay, by pair."""
        decay = self.tiles.operands.decay
        unit_variance = lag_factors(lag, decay, xp=self.xp).unit_variance
        return lag + 0.0 * decay, unit_variance, d_variance_d_decay(lag, decay, xp=self.xp)

    def _add_lags(
        self,
        name: str,
        tokens: TokenRange,
        sign: int,
        factors: LagFactors,
        grad_log: Array,
        grad_variance: Array,
    ) -> None:
        """Propagate the gradients in E and V of the lags of tokens to parameters and times."""
        decay, process = self.tiles.operands.decay, self.tiles.operands.process
        grads = lag_grads(factors, decay, process, grad_log, grad_variance, xp=self.xp)
        self._add("decay", grads.decay)
        self._add("process", grads.process)
        self.grads.tokens(name, tokens, self._time_column(sign * grads.lag[..., 0]))

    def _add_scale(self, x: Array) -> None:
        """Add the gradient in c = 1/(ν_s d) to that in ν_s."""
        if self.tiles.static.weighting in (StudentT, Rational):
            self._add("dof", -self.tiles.c / self.tiles.operands.dof * _total(x, xp=self.xp))

    def _add(self, name: str, x: Array) -> None:
        """Add the gradient in a parameter of the heads."""
        self.grads.parameter(name, _total(x, xp=self.xp))


def _total(x: Array, *, xp: Namespace) -> Array:
    """Sum over all axes but heads, to (g, 1, 1)."""
    while x.ndim > 1:
        x = xp.sum(x, axis=-1)
    return x[:, None, None]
