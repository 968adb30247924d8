"""A tile of the forms with several covariances and one robust weight (spec §5, §6).

A pair has a Σ_s for every component s, radial and tangential or one for every mode, and a squared
residual ρ_s. With r = Σ_s cρ_s/Σ_s, c = 1/(ν_s d), its weight is w(r)/Σ_s: w, common to all
components, costs one power or exponential a pair, and a component no more than a reciprocal. With a
reference time t_c between keys and queries E and Σ factor,

    E = e f,   Σ = a + e² g,   e = E(t_i − t_c),   a = γ² + V(t_i − t_c),
                               f = E(t_c − t_j),   g = V(t_c − t_j) + f²η².

Arrays of pairs are (g, s, n, m): a sum over components adds matrices. Those of tokens are (g, s,
channels, tokens), so that in products the narrow matrix is the first and none has to be rearranged.
Modes come in groups that share E, all in one or each by itself; components are groups times
estimates.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable
from functools import reduce
from operator import add

from afa_core._array.arrays import Array
from afa_core._array.masks import TokenRange
from afa_core.model.weighting import integer_power
from afa_core.reference.softmax import hide
from afa_core.streaming.blocks import KeyBlock
from afa_core.streaming.component_layout import join_components, split_groups
from afa_core.streaming.forward.component_factors import (
    ComponentKeys,
    ComponentPairs,
    ComponentQueries,
    ComponentScores,
    QueryResiduals,
    as_row,
)
from afa_core.streaming.forward.sums import (
    RunningSums,
    StreamResult,
    add_logits,
    begin_with,
    below_new_peak,
    empty_sums,
    result,
)
from afa_core.streaming.lags import (
    LagFactors,
    compose_lags,
    flush_subnormal,
    lag_factors,
    reference_time,
)
from afa_core.streaming.levels import PairInfluence
from afa_core.streaming.operands import residual_scale
from afa_core.streaming.pair_weights import log_robust
from afa_core.streaming.tiles import TileContext, Tiles, relative_position


class ComponentTiles(Tiles, ABC):
    """The tiles of one evaluation of a form with several components."""

    def __init__(self, context: TileContext) -> None:
        super().__init__(context)
        operands, static, xp = self.operands, self.static, self.xp
        self.root = xp.sqrt(residual_scale(static, operands, xp=xp))  # √c
        self.query, self.key = self.root * operands.query, self.root * operands.key
        parameters = operands.decay, operands.process, operands.measurement
        self.decay, self.process, self.measurement = (
            xp.reshape(x, (x.shape[0], x.shape[-1], 1, 1)) for x in parameters
        )

    @property
    def in_logarithms(self) -> bool:
        """Whether every component has logarithms of weights, and a peak, of its own."""
        by_logarithm = self.correlated and self.residual and not self.power
        return self.static.has_temperature or by_logarithm

    @abstractmethod
    def distances(
        self, rows: TokenRange, scores: ComponentScores
    ) -> tuple[Array, QueryResiduals | None]:
        """Return cρ_s of a tile, (g, s, n, m), and the residuals that the backward needs."""

    def empty_sums(self, rows: TokenRange, *, return_precision: bool) -> RunningSums:
        """Return the sums over no key, for each component."""
        query, static = self.operands.query, self.static
        shape = query.shape[0], static.components, len(rows)
        width = self.operands.value.shape[-1] // static.groups
        untempered = return_precision and static.has_temperature
        sums = empty_sums(shape, width, query, untempered=untempered, xp=self.xp)
        missing = self.missing(rows)
        if missing is not None:
            missing = self.xp.matrix_transpose(missing)[..., None]
        if self.in_logarithms:
            if missing is None:
                return sums
            beta = self.operands.inverse_temperature[..., None]
            return begin_with(sums, missing, beta, xp=self.xp)
        peak = sums.peak[:, :1, ...]  # one for all components, that of log w
        if self.power or not self.residual:
            peak = self.xp.zeros_like(peak)
        total = sums.total if missing is None else self.xp.exp(missing)
        return sums._replace(peak=peak, total=total)

    def result(self, sums: RunningSums, _: TokenRange) -> StreamResult:
        """Return the estimates of a block of queries, with components as the last axis."""
        mean, *rest = result(sums, xp=self.xp)
        shape = sums.total.shape
        columns = (self.xp.broadcast_to(x, shape)[..., 0] for x in rest)
        return StreamResult(
            join_components(mean, self.static, xp=self.xp), *map(self.xp.matrix_transpose, columns)
        )

    def add(
        self, sums: RunningSums, rows: TokenRange, block: KeyBlock, visible: Array | None
    ) -> RunningSums:
        """Add a tile to the sums of a block of queries."""
        scores, ops, xp = self.scores(rows, block, visible), self.ops, self.xp
        hidden = None if visible is None else visible[:, None, ...]
        if self.in_logarithms:
            logit = self.logits(scores)
            beta = self.operands.inverse_temperature[..., None]
            at = beta if self.static.has_temperature else None
            of_pairs = logit, hidden, at, ops
            sums, weights = add_logits(sums, *of_pairs, correlated=self.correlated, xp=xp)
        else:
            sums, weights = self._robust_weights(sums, scores, visible)
            weights = weights if hidden is None else ops.zero_hidden(weights, hidden)
            found = xp.sum(weights, axis=-1, keepdims=True)
            found = found if scores.influence is None else scores.influence.in_row(found)
            sums = sums._replace(total=ops.add(sums.total, found))
        return sums._replace(carried=ops.add(sums.carried, self._weighted_values(weights, scores)))

    def logits(self, scores: ComponentScores) -> Array:
        """Return L_s, log w − log Σ_s or log w + log a_s; may overwrite r."""
        if scores.influence is None:
            logit = self.xp.log(scores.inverse)
        else:
            logit = reduce(add, scores.influence.terms())
        if scores.ratio is None:
            return logit
        robust = log_robust(self.static.weighting, scores.ratio, self.operands.dof, self.ops)
        return self.ops.add(logit, robust[:, None, ...])

    def prior(self, scores: ComponentScores) -> Array:
        """Return 1/Σ_s, or the influence a_s as far as it is of keys, (g, s, n, m)."""
        if scores.influence is None:
            return scores.inverse
        return scores.influence.of_keys + self.xp.zeros_like(scores.inverse)

    def _robust_weights(
        self, sums: RunningSums, scores: ComponentScores, visible: Array | None
    ) -> tuple[RunningSums, Array]:
        """Return the sums relative to the new peak of w, and the weights of a tile."""
        ops, ratio = self.ops, scores.ratio
        if ratio is None:
            return sums, self.prior(scores)
        if self.power:
            robust = integer_power(ops.reciprocal(ops.add(ratio, 1.0)), self.power, ops.multiply)
        else:
            logit = log_robust(self.static.weighting, ratio, self.operands.dof, ops)
            logit = hide(logit, visible, xp=self.xp)
            peak, robust, shrink = below_new_peak(sums.peak[:, 0, ...], logit, ops, xp=self.xp)
            shrink = shrink[:, None, ...]
            total, carried = (ops.multiply(x, shrink) for x in (sums.total, sums.carried))
            sums = RunningSums(peak[:, None, ...], total, carried, None)
        robust = robust[:, None, ...]
        if scores.influence is None:
            return sums, ops.multiply(scores.inverse, robust)
        return sums, self.workspace.outer("weights", scores.influence.of_keys, robust)

    def _weighted_values(self, weights: Array, scores: ComponentScores) -> Array:
        """Return Σ_j weight_ij E_ij ṽ_j, (g, s, n, channels); may overwrite the weights."""
        ops, xp, swap, static = self.ops, self.xp, self.xp.matrix_transpose, self.static
        if scores.pairs is not None:
            weights = ops.multiply(weights, scores.decayed)
        heads, components, rows, columns = weights.shape
        # estimates one below the other: all that share values are one product
        weights = xp.reshape(weights, (heads, static.groups, static.estimates * rows, columns))
        carried = swap(ops.product(scores.value, swap(weights)))
        carried = xp.reshape(carried, (heads, components, rows, carried.shape[-1]))
        return carried if scores.pairs is not None else ops.multiply(carried, self.outward(scores))

    def outward(self, scores: ComponentScores) -> Array:
        """Return what multiplies sums in a row: e, and the influence of the query, (g, s, n, 1)."""
        if scores.influence is None or self.in_logarithms:
            return scores.decayed
        return scores.influence.in_row(scores.decayed)

    def scores(self, rows: TokenRange, block: KeyBlock, visible: Array | None) -> ComponentScores:
        """Return what the weights of a tile are computed from."""
        scores = (
            self._factored(rows, block) if block.order else self._pairwise(rows, block, visible)
        )
        if not self.residual:
            return scores
        distances, residuals = self.distances(rows, scores)
        shares = self.ops.multiply(distances, scores.inverse)
        ratio = self.workspace.sum_components("ratio", shares)
        return scores._replace(shares=shares, ratio=ratio, residuals=residuals)

    def _factored(self, rows: TokenRange, block: KeyBlock) -> ComponentScores:
        """Return the scores of a tile with a reference time, but for its residuals."""
        ops, xp, swap = self.ops, self.xp, self.xp.matrix_transpose
        keys = self.keys(block)
        queries = self._queries(rows, block, keys.time)
        e = swap(queries.factors.decayed)
        square = flush_subnormal(e * e, xp=xp)
        sigma = self.workspace.outer("sigma", square, keys.sigma_term)
        inverse = ops.reciprocal(ops.add(sigma, swap(queries.sigma_term)))
        decayed, influence = flush_subnormal(e, xp=xp), None
        if keys.influence is not None:
            of_queries = self.query_influence(rows, block, keys.influence.level)
            influence = PairInfluence(
                as_row(keys.influence.of_keys, xp=xp), swap(as_row(of_queries, xp=xp))
            )
        return ComponentScores(
            inverse, decayed, keys.key, keys.value, influence, queries=queries, keys=keys
        )

    def _pairwise(
        self, rows: TokenRange, block: KeyBlock, visible: Array | None
    ) -> ComponentScores:
        """Return the scores of a tile without a reference time, but for its residuals."""
        pairs = self._pairs(rows, block.columns, visible)
        key, value = (
            self.tokens_in_groups(x, block.columns) for x in (self.key, self.operands.value)
        )
        influence = self.pair_influence(rows, block.columns, visible)
        decayed = pairs.factors.decayed
        return ComponentScores(1.0 / pairs.sigma, decayed, key, value, influence, pairs=pairs)

    def keys(self, block: KeyBlock) -> ComponentKeys:
        """Carry a block of keys to its reference time."""
        return self.cached_keys(block, type(self)._keys)

    def _keys(self, block: KeyBlock) -> ComponentKeys:
        xp, columns = self.xp, block.columns
        times = self.ops.cut(self.operands.key_times, columns)
        time = reference_time(times, block.order, xp=xp)
        lag = block.order * (time - times)
        factors = self._token_factors(lag, ("keys", len(columns), block.order))
        f, value = factors.decayed, self.tokens_in_groups(self.operands.value, columns)
        return ComponentKeys(
            key=f * self.tokens_in_groups(self.key, columns),
            # a time that is NaN affects the weights of the queries that attend to it
            value=xp.where(xp.isnan(f), 0.0, f * value),
            sigma_term=self.process * factors.unit_variance + f * f * self.measurement,
            factors=factors,
            time=time,
            influence=self.block_influence(block),
        )

    def _queries(self, rows: TokenRange, block: KeyBlock, time: Array) -> ComponentQueries:
        """Carry a block of queries to the reference time of a key block, by way of its own."""
        order = block.order
        own_time, own = self.cached_queries(rows, order, type(self)._own_queries)
        position = relative_position(rows, block.columns)
        factors = compose_lags(self._token_factors(order * (own_time - time), position), own)
        noise = as_row(self.query_noise(rows), xp=self.xp)
        return ComponentQueries(factors, noise + self.process * factors.unit_variance)

    def _own_queries(self, rows: TokenRange, order: int) -> tuple[Array, LagFactors]:
        """Carry a block of queries to its own reference time on one side; return both."""
        times = self.ops.cut(self.operands.query_times, rows)
        time = reference_time(times, -order, xp=self.xp)
        return time, self._token_factors(order * (times - time), ("queries", len(rows), order))

    def _token_factors(self, lag: Array, key: Hashable) -> LagFactors:
        """Evaluate E and V of a lag of each token, (g, tokens, 1)."""
        lag = self.xp.matrix_transpose(self.narrow(lag))[:, None, ...]
        return self.lag_factors(lag, self.decay, key)

    def _pairs(
        self, rows: TokenRange, columns: TokenRange, visible: Array | None
    ) -> ComponentPairs:
        """Evaluate lags and Σ pair by pair; on a regular grid, once for tiles so placed."""
        alike = self.static.regular and self.query_variance(rows) is None
        if not (alike and self.ops.caches):
            return self._evaluate_pairs(rows, columns, visible)
        key = rows.start - columns.start, len(rows), len(columns)
        return self.cached(key, lambda: self._evaluate_pairs(rows, columns, None))

    def _evaluate_pairs(
        self, rows: TokenRange, columns: TokenRange, visible: Array | None
    ) -> ComponentPairs:
        """Evaluate lags and Σ pair by pair; hidden pairs have lag zero."""
        xp, lag = self.xp, self.lag(rows, columns)
        lag = lag if visible is None else xp.where(visible, lag, 0.0)
        factors = lag_factors(self.narrow(abs(lag))[:, None, ...], self.decay, xp=xp)
        sigma = factors.decayed * factors.decayed * self.measurement
        sigma = sigma + self.process * factors.unit_variance
        sigma = sigma + xp.matrix_transpose(as_row(self.query_noise(rows), xp=xp))
        return ComponentPairs(factors, sigma, xp.sign(self.narrow(lag))[:, None, ...])

    def tokens_in_groups(self, x: Array, tokens: TokenRange) -> Array:
        """Cut tokens (g, tokens, 2d) and split their groups, (g, groups, channels, tokens)."""
        return split_groups(self.ops.cut(x, tokens), self.static, xp=self.xp)
