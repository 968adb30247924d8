"""A tile of isotropic attention (spec §4): x, Σ and E of its pairs, in few operations.

With x = Σ + cρ and c = 1/(ν_s d), a Student-t weight is Σ^{p−1} x^{−p}, p = ν_s + 1, and a rational
one x^{−1}. With a reference time t_c between keys and queries everything factors,

    E = e f,   Σ = a + e² g,   e = E(t_i − t_c),   a = γ² + V(t_i − t_c),
                               f = E(t_c − t_j),   g = V(t_c − t_j) + f²η²,

every term positive and every factor at most 1, so that x is a matrix product and two sums,

    x = (−2c e q̃) · (f k̃) + (a + c‖q‖²) + e² (g + c f²‖k‖²).

Weights evaluated through a logarithm have x = cρ instead, the same without a and g. Those of
correlated keys are a_ij (Σ/x)^p, and their influence a_ij factors likewise. A block of queries has
a reference time t_p of its own, between its queries and those of all key blocks: E and V of t_i −
t_c are those of t_p − t_c, one number a tile, composed with those of t_i − t_p, which all tiles
share.
"""

from __future__ import annotations

from collections.abc import Callable

from afa_core._array.arrays import Array, device_of
from afa_core._array.masks import TokenRange
from afa_core.model.weighting import integer_power
from afa_core.streaming.blocks import KeyBlock
from afa_core.streaming.forward.isotropic_factors import (
    IsotropicKeys,
    IsotropicPairs,
    IsotropicQueries,
    IsotropicScores,
)
from afa_core.streaming.forward.sums import (
    RunningSums,
    StreamResult,
    add_logits,
    begin_with,
    empty_sums,
    result,
)
from afa_core.streaming.lags import compose_lags, lag_factors, reference_time
from afa_core.streaming.levels import PairInfluence
from afa_core.streaming.operands import residual_scale
from afa_core.streaming.pair_weights import logits, power_weights
from afa_core.streaming.ranges import Units, units
from afa_core.streaming.tiles import TileContext, Tiles, relative_position


class Isotropic(Tiles):
    """The tiles of one evaluation of the isotropic form."""

    def __init__(self, context: TileContext) -> None:
        super().__init__(context)
        self.c = residual_scale(self.static, self.operands, xp=self.xp)
        self.unit: Units = units(
            self.operands, self.norms, self.c, self.power, self.sigma_power, xp=self.xp
        )
        # whether weights depend on Σ other than through x
        self.needs_sigma = self.residual if self.correlated else self.power != 1

    def empty_sums(self, rows: TokenRange, *, return_precision: bool) -> RunningSums:
        """Return the sums over no key."""
        query, untempered = self.operands.query, return_precision and self.static.has_temperature
        shape, width = (query.shape[0], len(rows)), self.operands.value.shape[-1]
        sums = empty_sums(shape, width, query, untempered=untempered, xp=self.xp)
        missing = self.missing(rows)
        if self.power:
            peak = self.ops.cut(self.unit.peak, rows)
            total = sums.total if missing is None else self.xp.exp(missing - peak)
            return sums._replace(peak=peak, total=total)
        if missing is None:
            return sums
        return begin_with(sums, missing, self.operands.inverse_temperature, xp=self.xp)

    def result(self, sums: RunningSums, rows: TokenRange) -> StreamResult:
        """Return the estimates of a block of queries."""
        estimate = result(sums, xp=self.xp)
        if not self.power:
            return estimate
        per_x = self.ops.cut(self.unit.per_x, rows)
        # total · exp(peak), without the rounding of a large peak
        precision = sums.total if self.correlated else sums.total * per_x
        if self.needs_sigma:
            ratio = per_x / self.ops.cut(self.unit.per_sigma, rows)
            precision = precision * integer_power(ratio, self.sigma_power, self.ops.multiply)
        return estimate._replace(precision=precision)

    def add(
        self, sums: RunningSums, rows: TokenRange, block: KeyBlock, visible: Array | None
    ) -> RunningSums:
        """Add a tile to the sums of a block of queries."""
        scores, ops, xp = self.scores(rows, block, visible), self.ops, self.xp
        if self.power:
            assert scores.x is not None
            of_keys = None if scores.influence is None else scores.influence.of_keys
            weights = power_weights(scores.x, scores.sigma, self.power, of_keys, ops)
            if visible is not None:
                weights = ops.zero_hidden(weights, visible)
            found = xp.sum(weights, axis=-1, keepdims=True)
            found = found if scores.influence is None else scores.influence.in_row(found)
            sums = sums._replace(total=ops.add(sums.total, found))
        else:
            terms = () if scores.influence is None else scores.influence.terms()
            weighting, dof = self.static.weighting, self.operands.dof
            logit = logits(weighting, scores.x, scores.sigma, dof, terms, ops)
            beta = self.operands.inverse_temperature if self.static.has_temperature else None
            sums, weights = add_logits(
                sums, logit, visible, beta, ops, correlated=self.correlated, xp=xp
            )
        return sums._replace(carried=self._add_values(sums.carried, weights, scores))

    def _add_values(self, carried: Array, weights: Array, scores: IsotropicScores) -> Array:
        """Add Σ_j weight_ij E_ij ṽ_j; may overwrite `carried` and the weights."""
        if scores.pairs is not None:
            weights = self.ops.multiply(weights, scores.decayed)
            return self.workspace.add_product("carried", carried, weights, scores.value)
        product = self.workspace.product("carried", weights, scores.value)
        return self.ops.add_product(carried, product, scores.decayed)

    def scores(self, rows: TokenRange, block: KeyBlock, visible: Array | None) -> IsotropicScores:
        """Return x, Σ and E ṽ of a tile."""
        scores = (
            self._factored(rows, block) if block.order else self._pairwise(rows, block, visible)
        )
        if scores.x is None:
            return scores
        return scores._replace(x=self.ops.maximum(scores.x, self.ops.cut(self.unit.floor, rows)))

    def _factored(self, rows: TokenRange, block: KeyBlock) -> IsotropicScores:
        """Return the scores of a tile with a reference time, from factors of either side."""
        workspace, swap = self.workspace, self.xp.matrix_transpose
        keys = self.keys(block)
        queries = self._queries(rows, block, keys.time)
        x = sigma = influence = None
        decayed = queries.factors.decayed
        if keys.influence is not None:
            of_queries = self.query_influence(rows, block, keys.influence.level)
            influence = PairInfluence(swap(keys.influence.of_keys), of_queries)
            decayed = decayed if self.in_logarithms else decayed * of_queries
        if self.residual:
            x = workspace.affine("x", queries.x_term, queries.x_factor, swap(keys.x_term))
            x = workspace.add_product("product", x, queries.query, swap(keys.key))
        if self.needs_sigma:
            sigma = workspace.affine(
                "sigma", queries.sigma_term, queries.sigma_factor, swap(keys.sigma_term)
            )
        return IsotropicScores(x, sigma, decayed, keys.value, influence, queries, keys)

    def _pairwise(
        self, rows: TokenRange, block: KeyBlock, visible: Array | None
    ) -> IsotropicScores:
        """Return the scores of a tile without a reference time, pair by pair."""
        pairs = self._pairs(rows, block.columns, visible)
        x = sigma = None
        if self.residual:
            x = self._pairwise_x(rows, block.columns, pairs)
        if self.needs_sigma:
            per_sigma = self.ops.cut(self.unit.per_sigma, rows)
            sigma = self.workspace.outer("sigma", pairs.sigma, per_sigma)
        value = self.ops.cut(self.operands.value, block.columns)
        influence = self.pair_influence(rows, block.columns, visible)
        if influence is not None:
            influence = influence._replace(of_keys=influence.of_keys[:, 0, ...])
        return IsotropicScores(x, sigma, pairs.decayed, value, influence, pairs=pairs)

    def keys(self, block: KeyBlock) -> IsotropicKeys:
        """Carry a block of keys to its reference time."""
        return self.cached_keys(block, type(self)._keys)

    def _keys(self, block: KeyBlock) -> IsotropicKeys:
        operands, xp, columns = self.operands, self.xp, block.columns
        tokens = operands.key, operands.value, self.norms.key, operands.key_times
        key, value, key2, times = (self.ops.cut(x, columns) for x in tokens)
        time = reference_time(times, block.order, xp=xp)
        lag = self.narrow(block.order * (time - times))
        factors = self.lag_factors(lag, operands.decay, ("keys", len(columns), block.order))
        f = factors.decayed
        g = operands.process * factors.unit_variance + f * f * operands.measurement
        x_term = self.c * f * f * key2
        x_term = g + x_term if self.power else x_term
        # a time that is NaN affects the weights of the queries that attend to it, not its value
        value = xp.where(xp.isnan(f), 0.0, f) * value
        return IsotropicKeys(f * key, x_term, g, value, factors, time, self.block_influence(block))

    def _queries(self, rows: TokenRange, block: KeyBlock, time: Array) -> IsotropicQueries:
        """Carry a block of queries to the reference time of a key block."""
        order = block.order
        own_time, own = self.cached_queries(rows, order, type(self)._own_queries)
        position = relative_position(rows, block.columns)
        lag = self.narrow(order * (own_time - time))
        factors = self.lag_factors(lag, self.operands.decay, position)
        square, driven = (
            factors.decayed * factors.decayed,
            self.operands.process * factors.unit_variance,
        )
        x_term, sigma_term, sigma_factor = own.x_term, own.sigma_term, own.sigma_factor
        if self.power:
            x_term = x_term + own.x_factor * driven
        if self.needs_sigma:
            sigma_term = sigma_term + sigma_factor * driven
            sigma_factor = sigma_factor * square
        return IsotropicQueries(
            query=own.query * factors.decayed,
            x_term=x_term,
            x_factor=own.x_factor * square,
            sigma_term=sigma_term,
            sigma_factor=sigma_factor,
            factors=compose_lags(factors, own.factors),
        )

    def _own_queries(self, rows: TokenRange, order: int) -> tuple[Array, IsotropicQueries]:
        """Carry a block of queries to its own reference time on one side; return both."""
        operands, xp = self.operands, self.xp
        tokens = operands.query, self.norms.query, operands.query_times, self.unit.per_x
        query, query2, times, per_x = (self.ops.cut(x, rows) for x in tokens)
        time = reference_time(times, -order, xp=xp)
        lag = self.narrow(order * (times - time))
        factors = self.lag_factors(lag, operands.decay, ("queries", len(rows), order))
        e, per_sigma = factors.decayed, self.ops.cut(self.unit.per_sigma, rows)
        a = self.query_noise(rows) + operands.process * factors.unit_variance
        x_term = a + self.c * query2 if self.power else self.c * query2
        return time, IsotropicQueries(
            query=(-2.0 * self.c * e * per_x) * query,
            x_term=x_term * per_x,
            x_factor=e * e * per_x,
            sigma_term=a * per_sigma,
            sigma_factor=e * e * per_sigma,
            factors=factors,
        )

    def _pairs(
        self, rows: TokenRange, columns: TokenRange, visible: Array | None
    ) -> IsotropicPairs:
        """Evaluate E and Σ pair by pair."""
        operands = self.operands

        def evaluate(lag: Array) -> tuple[Array, ...]:
            factors = lag_factors(lag, operands.decay, xp=self.xp)
            decayed, driven = factors.decayed, operands.process * factors.unit_variance
            return decayed, driven + decayed * decayed * operands.measurement + operands.query_noise

        decayed, sigma = self.functions_of_lag("pairs", evaluate, rows, columns, visible)
        variance = self.query_variance(rows)
        return IsotropicPairs(decayed, sigma if variance is None else sigma + variance)

    def functions_of_lag(
        self,
        name: str,
        functions: Callable[[Array], tuple[Array, ...]],
        rows: TokenRange,
        columns: TokenRange,
        visible: Array | None,
    ) -> tuple[Array, ...]:
        """Evaluate functions of |Δ| of the pairs of a tile, (g, n, m); hidden pairs have lag zero.

        On a regular grid they are evaluated once for every diagonal of the tile, and cached.
        """
        if not self.static.regular:
            lag = self.lag(rows, columns)
            lag = lag if visible is None else self.xp.where(visible, lag, 0.0)
            return functions(self.narrow(abs(lag)))
        key = name, rows.start - columns.start, len(rows), len(columns)
        return self.cached(key, lambda: self._on_diagonals(functions, rows, columns))

    def _on_diagonals(
        self, functions: Callable[[Array], tuple[Array, ...]], rows: TokenRange, columns: TokenRange
    ) -> tuple[Array, ...]:
        """Evaluate functions of |Δ| on a regular grid, counted from the last tokens of the tile."""
        operands, ops, n, m = self.operands, self.ops, len(rows), len(columns)
        last_query = ops.cut(operands.query_times, rows)[:, -1:, :]
        last = last_query - ops.cut(operands.key_times, columns)[:, -1:, :]
        device = device_of(operands.query)
        places = self.xp.arange(m - 1, -n, -1, dtype=last.dtype, device=device)
        lag = last + places[None, None, :]
        return tuple(ops.toeplitz(x, n, m) for x in functions(self.narrow(abs(lag))))

    def _pairwise_x(self, rows: TokenRange, columns: TokenRange, pairs: IsotropicPairs) -> Array:
        """Return x in its unit, for a tile without a reference time."""
        ops, swap, c = self.ops, self.xp.matrix_transpose, self.c
        query, query2 = ops.cut(self.operands.query, rows), ops.cut(self.norms.query, rows)
        key, key2 = ops.cut(self.operands.key, columns), ops.cut(self.norms.key, columns)
        x = self.workspace.product("x", -2.0 * c * query, swap(key))
        x = ops.add_product(x, pairs.decayed, c * swap(key2))
        x = ops.add(ops.multiply(x, pairs.decayed), c * query2)
        if not self.power:  # whose unit is 1
            return x
        return ops.multiply(ops.add(x, pairs.sigma), ops.cut(self.unit.per_x, rows))
