"""Gradients of tiles with several components: tokens, times and parameters."""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple, TypeVar

from afa_core._array.arrays import Array
from afa_core._array.log_sum_exp import finite_peak
from afa_core._array.masks import TokenRange
from afa_core.model.weighting import Gaussian, StudentT, integer_power
from afa_core.streaming.backward.tiles import TileBackward
from afa_core.streaming.blocks import KeyBlock
from afa_core.streaming.component_layout import join_groups, split_components
from afa_core.streaming.forward.component_factors import ComponentKeys, ComponentScores
from afa_core.streaming.forward.components import ComponentTiles
from afa_core.streaming.forward.sums import StreamResult, scaled_log_weight
from afa_core.streaming.lags import LagFactors, lag_grads
from afa_core.streaming.pair_weights import log_robust, log_robust_slope


class ComponentGrads(NamedTuple):
    """The weights of a tile, and gradients in what its pairs are computed from, (g, s, n, m)."""

    weights: Array
    carried: Array  # in log E, through the values that the weights carry
    logit: Array  # in L_s, and so in log a_s of correlated keys
    sigma: Array  # in Σ_s
    distances: Array | None  # in cρ_s


AnyComponents = TypeVar("AnyComponents", bound=ComponentTiles)


class ComponentsBackward(TileBackward[AnyComponents]):
    """Gradients of the tiles of one evaluation of a form with several components."""

    @abstractmethod
    def factored_residuals(
        self, rows: TokenRange, scores: ComponentScores, grad: Array
    ) -> tuple[Array, Array]:
        """Propagate the gradient in cρ_s of a tile with a reference time to its queries.

        Also return the gradients in log e, (g, groups, 1, n), and in keys κ = √c f k̃ as the x and
        the y of x + 2 y κ, (g, groups, channels + 1, m), where y is the gradient in ‖κ‖².
        """

    @abstractmethod
    def pairwise_residuals(
        self, rows: TokenRange, scores: ComponentScores, grad: Array
    ) -> tuple[Array, Array]:
        """Propagate it in a tile without one: log E is of pairs, (g, groups, n, m), and f is 1."""

    def query_block(
        self, rows: TokenRange, result: StreamResult, grad_mean: Array, grad_precision: Array
    ) -> None:
        """Begin a block of queries with the gradients of N, of Z, and of every exp(L) of a row."""
        tiles, static, xp = self.tiles, self.tiles.static, self.xp
        columns = result.peak, result.total, grad_precision
        peak, total, grad_untempered = (xp.matrix_transpose(x)[..., None] for x in columns)
        grad_mean, mean = (split_components(x, static, xp=xp) for x in (grad_mean, result.mean))
        if not tiles.in_logarithms:  # a merged result may have a peak for each component
            common = xp.max(peak, axis=1, keepdims=True)
            common = xp.zeros_like(common) if tiles.power or not tiles.residual else common
            total = total * xp.exp(xp.where(common == -xp.inf, 0.0, peak - common))
            peak = common
        inverse = xp.where(total > 0.0, 1.0 / total, 0.0)
        self.peak, self.grad_untempered = finite_peak(peak, xp=xp), grad_untempered
        self.grad_carried = grad_mean * inverse
        self.grad_total = -xp.sum(grad_mean * mean, axis=-1, keepdims=True) * inverse
        if not static.has_temperature:
            self.grad_total = self.grad_total + grad_untempered * xp.exp(peak)

    def prior_mean(self, rows: TokenRange) -> None:
        """Add the gradients of a query block through the weight of the prior's mean."""
        peak, *grads = (
            self.xp.matrix_transpose(x[..., 0])
            for x in (self.peak, self.grad_total, self.grad_untempered)
        )
        self._add_missing(rows, peak, *grads)

    def tile(self, rows: TokenRange, block: KeyBlock, visible: Array | None) -> None:
        """Add the gradients that one tile of the query block contributes."""
        scores = self.tiles.scores(rows, block, visible)
        outward = self.grad_carried
        if block.order:
            outward = outward * self.tiles.outward(scores)
        carried = self.tiles.workspace.product("weight_grad", outward, scores.value)
        carried = carried if block.order else carried * scores.decayed
        pairs = self._component_grads(scores, carried, visible)
        if block.order:
            self._factored(rows, block, scores, pairs, outward)
        else:
            self._pairwise(rows, block, scores, pairs)

    def _component_grads(
        self, scores: ComponentScores, weight_grad: Array, visible: Array | None
    ) -> ComponentGrads:
        """Propagate from weights to Σ_s and cρ_s; `weight_grad` is through carried values."""
        tiles, ops, xp = self.tiles, self.ops, self.xp
        hidden = None if visible is None else visible[:, None, ...]
        logit = self._logit(scores) if tiles.in_logarithms else None
        weights = self._weights(scores, logit)
        weights = weights if hidden is None else xp.where(hidden, weights, 0.0)
        carried = ops.multiply(weight_grad, weights)
        grad_total, influence = self.grad_total, scores.influence
        if influence is not None and logit is None:
            grad_total = influence.in_row(grad_total)
        grad_logit = tiles.workspace.outer("grad_logit", grad_total, weights)
        grad_logit = ops.add(grad_logit, carried)
        if logit is not None and tiles.static.has_temperature:
            grad_logit = self._through_temperature(grad_logit, logit, hidden)
        if scores.ratio is None or scores.shares is None:
            through = xp.zeros_like(grad_logit) if influence is not None else grad_logit
            return ComponentGrads(weights, carried, grad_logit, through * -scores.inverse, None)
        grad_ratio = self._grad_ratio(scores.ratio, xp.sum(grad_logit, axis=1))[:, None, ...]
        shares = ops.multiply(scores.shares, -grad_ratio)
        shares = shares if influence is not None else ops.subtract(shares, grad_logit)
        grad_sigma = ops.multiply(shares, scores.inverse)
        grad_distances = ops.multiply(scores.inverse, grad_ratio)
        return ComponentGrads(weights, carried, grad_logit, grad_sigma, grad_distances)

    def _logit(self, scores: ComponentScores) -> Array:
        """Return L_s, without overwriting r."""
        ratio = None if scores.ratio is None else scores.ratio + 0.0
        return self.tiles.logits(scores._replace(ratio=ratio))

    def _through_temperature(self, grad: Array, logit: Array, hidden: Array | None) -> Array:
        """Propagate the gradient in βL to β and L, to which every exp(L) adds."""
        xp = self.xp
        known = xp.where(logit > -xp.inf, logit, 0.0)  # hidden correlated keys have none
        self._add("inverse_temperature", xp.sum(grad * known, axis=1, keepdims=True))
        untempered = self.grad_untempered * xp.exp(logit)
        untempered = untempered if hidden is None else xp.where(hidden, untempered, 0.0)
        return self.tiles.operands.inverse_temperature[..., None] * grad + untempered

    def _weights(self, scores: ComponentScores, logit: Array | None) -> Array:
        """Return the weights of a tile relative to the peak of the row."""
        tiles, ops, ratio = self.tiles, self.ops, scores.ratio
        if logit is not None:
            if tiles.static.has_temperature:
                beta = tiles.operands.inverse_temperature[..., None]
                logit = scaled_log_weight(logit, beta, xp=self.xp)
            return ops.exp(logit - self.peak)
        if ratio is None:
            return tiles.prior(scores)
        if tiles.power:
            robust = integer_power(ops.reciprocal(ratio + 1.0), tiles.power, ops.multiply)
        else:
            logit = log_robust(tiles.static.weighting, ratio + 0.0, tiles.operands.dof, ops)
            robust = ops.exp(ops.subtract(logit, self.peak[:, 0, ...]))
        prior = scores.inverse if scores.influence is None else scores.influence.of_keys
        return tiles.workspace.outer("weights", prior, robust[:, None, ...])

    def _grad_ratio(self, ratio: Array, grad_robust: Array) -> Array:
        """Propagate the gradient in log w to r, and to ν_s."""
        tiles, weighting, dof = self.tiles, self.tiles.static.weighting, self.tiles.operands.dof
        grad_ratio = grad_robust * log_robust_slope(weighting, ratio, dof, xp=self.xp)
        if weighting is not Gaussian:  # r contains c = 1/(ν_s d)
            self._add("dof", (grad_ratio * ratio / -dof)[:, None, ...])
        if weighting is StudentT and not tiles.power:
            self._add("dof", (-grad_robust * self.xp.log1p(ratio))[:, None, ...])
        return grad_ratio

    def _factored(
        self,
        rows: TokenRange,
        block: KeyBlock,
        scores: ComponentScores,
        pairs: ComponentGrads,
        outward: Array,
    ) -> None:
        """Propagate to the queries of a tile with a reference time; sum those of its key block."""
        tiles, ops, xp, swap = self.tiles, self.ops, self.xp, self.xp.matrix_transpose
        queries, keys = scores.queries, scores.keys
        assert queries is not None
        assert keys is not None
        square = queries.factors.decayed * queries.factors.decayed
        key_grads = [self._sum_estimates(ops.product(swap(outward), pairs.weights))]
        grad_log = self._sum_estimates(swap(xp.sum(pairs.carried, axis=-1, keepdims=True)))
        if pairs.distances is not None:
            residual_log, residual_keys = self.factored_residuals(rows, scores, pairs.distances)
            grad_log = grad_log + residual_log
            key_grads.append(residual_keys)
        right = xp.concat([xp.ones_like(keys.sigma_term), keys.sigma_term], axis=-2)
        sigma_sums = ops.product(right, swap(pairs.sigma))
        grad_term, grad_square = sigma_sums[:, :, :1, :], sigma_sums[:, :, 1:, :]
        if tiles.correlated:
            by_query = swap(xp.sum(pairs.logit, axis=-1))
            self._add_query_levels(rows, block.order, by_query)
            key_grads.append(xp.sum(pairs.logit, axis=-2, keepdims=True))
        key_grads.append(ops.product(square, pairs.sigma))
        grad_log = grad_log + 2.0 * square * self._sum_estimates(grad_square)
        self._add_query_noise(rows, swap(grad_term[:, :, 0, :]))
        self._add_lags("query_times", rows, block.order, queries.factors, grad_log, grad_term)
        self._add_key_grads(block, keys, key_grads)

    def _key_grads(self, block: KeyBlock, keys: ComponentKeys, grads: list[Array]) -> None:
        """Propagate the gradients of a key block's factors to its tokens and parameters."""
        tiles, xp, columns = self.tiles, self.xp, block.columns
        f, grad_value, grad_variance = keys.factors.decayed, grads[0], grads[-1]
        self.grads.tokens("value", columns, join_groups(f * grad_value, xp=xp))
        grad_log = xp.sum(keys.value * grad_value, axis=-2, keepdims=True)
        if tiles.correlated:
            self._add_key_levels(columns, block.order, xp.matrix_transpose(grads[-2][:, :, 0, :]))
        if tiles.residual:
            grad_key = _combine(keys.key, grads[1])
            grad_log = grad_log + xp.sum(keys.key * grad_key, axis=-2, keepdims=True)
            self.grads.tokens("key", columns, tiles.root * join_groups(f * grad_key, xp=xp))
        grad_measurement = f * f * grad_variance
        grad_log = grad_log + 2.0 * self._sum_estimates(tiles.measurement * grad_measurement)
        self._add("measurement", grad_measurement)
        self._add_lags("key_times", columns, -block.order, keys.factors, grad_log, grad_variance)

    def _pairwise(
        self, rows: TokenRange, block: KeyBlock, scores: ComponentScores, pairs: ComponentGrads
    ) -> None:
        """Propagate to the tokens and parameters of a tile without a reference time."""
        tiles, xp, grads, columns = self.tiles, self.xp, self.grads, block.columns
        lags, grad_sigma = scores.pairs, pairs.sigma
        assert lags is not None
        if scores.influence is not None:
            self._add_pair_levels(rows, columns, pairs.logit, scores.influence.past)
        outward = xp.matrix_transpose(self.grad_carried)
        grad_value = self._sum_estimates(self.ops.product(outward, pairs.weights * scores.decayed))
        grads.tokens("value", columns, join_groups(grad_value, xp=xp))
        grad_log = self._sum_estimates(pairs.carried)
        if pairs.distances is not None:
            residual_log, residual_keys = self.pairwise_residuals(rows, scores, pairs.distances)
            grad_log = grad_log + residual_log
            grad_key = join_groups(_combine(scores.key, residual_keys), xp=xp)
            grads.tokens("key", columns, tiles.root * grad_key)
        grad_measurement = scores.decayed * scores.decayed * grad_sigma
        grad_log = grad_log + 2.0 * self._sum_estimates(tiles.measurement * grad_measurement)
        self._add_query_noise(rows, xp.matrix_transpose(xp.sum(grad_sigma, axis=-1)))
        self._add("measurement", grad_measurement)
        grad_lag = xp.sum(lags.sign * self._grad_lag(lags.factors, grad_log, grad_sigma), axis=1)
        grads.tokens("query_times", rows, self._time_column(xp.sum(grad_lag, axis=-1)))
        grads.tokens("key_times", columns, self._time_column(-xp.sum(grad_lag, axis=-2)))

    def _add_lags(
        self,
        name: str,
        tokens: TokenRange,
        sign: int,
        factors: LagFactors,
        grad_log: Array,
        grad_variance: Array,
    ) -> None:
        """Propagate the gradients in E and V of the lags of tokens to times."""
        grad_lag = sign * self._grad_lag(factors, grad_log, grad_variance)
        self.grads.tokens(name, tokens, self._time_column(self.xp.sum(grad_lag, axis=1)[:, 0, :]))

    def _grad_lag(self, factors: LagFactors, grad_log: Array, grad_variance: Array) -> Array:
        """Propagate the gradients in E and V to decay and process noise; return that in lags."""
        tiles, xp = self.tiles, self.xp
        driven = self._sum_estimates(tiles.process * grad_variance)
        one = xp.ones_like(tiles.decay)
        grads = lag_grads(factors, tiles.decay, one, grad_log, driven, xp=xp)
        self._add("decay", grads.decay)
        self._add("process", factors.unit_variance * grad_variance)
        return grads.lag

    def _sum_estimates(self, x: Array) -> Array:
        """Sum over estimates, (g, s, …) to (g, groups, …)."""
        if self.tiles.static.estimates == 1:
            return x
        return self.xp.sum(x, axis=1, keepdims=True)

    def _add(self, name: str, x: Array) -> None:
        """Add the gradient in a parameter from those in pairs or tokens, (g, s, …, …)."""
        self.grads.parameter(name, self.xp.sum(self.xp.sum(x, axis=-1), axis=-1)[:, None, :])


def _combine(key: Array, grad: Array) -> Array:
    """Return x + 2 y κ of keys κ and the x and y of `factored_residuals`."""
    return grad[:, :, :-1, :] + 2.0 * grad[:, :, -1:, :] * key
