"""Back through a tile with several covariances, to its tokens, times and parameters."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NamedTuple, TypeVar

from afa_core._array.arrays import Array
from afa_core.model.weighting import Gaussian, StudentT
from afa_core.streaming.blocks import Step
from afa_core.streaming.forward.components import Keys, Scores, Sets
from afa_core.streaming.forward.sums import Result
from afa_core.streaming.lags import Lagged, bend, slopes
from afa_core.streaming.pair_weights import integer_power, log_robust, robust_slope
from afa_core.streaming.tiles import Back


class Pairs(NamedTuple):
    """Weights of a tile, and derivatives of the loss, (g, s, n, m)."""

    weights: Array
    borne: Array  # in log E through what the weights carry
    sigma: Array  # in Σ_s
    distances: Array | None  # in cρ_s


AnySets = TypeVar("AnySets", bound=Sets)


class SetsBack(Back[AnySets]):
    """Derivatives of the tiles of one evaluation, a panel of queries at a time."""

    @abstractmethod
    def rows(self, rows: Any, scores: Scores, by: Array) -> tuple[Array, Array]:
        """Go back from the residuals of a tile in a frame to its queries, which are gathered.

        Also return the derivatives in log e, (g, groups, 1, n), and in keys √c f k̃ =: κ as the x
        and the y of x + 2 y κ, (g, groups, channels + 1, m); y is the one in ‖κ‖².
        """

    @abstractmethod
    def pairs(self, rows: Any, scores: Scores, by: Array) -> tuple[Array, Array]:
        """Do it in a tile without a frame: log E is that of pairs, (g, groups, n, m), f is 1."""

    def panel(self, rows: Any, result: Result, by_mean: Array, by_precision: Array) -> None:
        """Begin a panel: derivatives in N, in Z, and in every exp(L) of a row."""
        it, xp = self.it, self.xp
        peak, total, by_claim = (
            xp.matrix_transpose(x)[..., None] for x in (result.peak, result.total, by_precision)
        )
        by_mean, mean = it.in_sets(by_mean), it.in_sets(result.mean)
        if not it.fixed.tempered:  # keys elsewhere may have given sets peaks of their own
            common = xp.max(peak, axis=1, keepdims=True)
            common = xp.zeros_like(common) if it.power or not it.residual else common
            total = total * xp.exp(xp.where(common == -xp.inf, 0.0, peak - common))
            peak = common
        whole = xp.where(total > 0.0, 1.0 / total, 0.0)
        self.peak, self.by_claim = xp.where(peak == -xp.inf, 0.0, peak), by_claim
        self.by_carried = by_mean * whole
        self.by_total = -xp.sum(by_mean * mean, axis=-1, keepdims=True) * whole
        if not it.fixed.tempered:
            self.by_total = self.by_total + by_claim * xp.exp(peak)

    def tile(self, rows: Any, step: Step, visible: Array | None) -> None:
        """Take the panel back through a tile."""
        scores = self.it.scores(rows, step, visible)
        outward = self.by_carried * scores.decayed if step.frame else self.by_carried
        along = self.it.rooms.product("along", outward, scores.value)
        along = along if step.frame else along * scores.decayed
        pairs = self._pairs(scores, along, visible)
        if step.frame:
            self._framed(rows, step, scores, pairs, outward)
        else:
            self._direct(rows, step, scores, pairs)

    def _pairs(self, scores: Scores, along: Array, visible: Array | None) -> Pairs:
        """Go back from weights to Σ_s and cρ_s; `along` is the derivative in weights, carried."""
        it, ops, xp = self.it, self.ops, self.xp
        ratio, shares, inverse = scores.ratio, scores.shares, scores.inverse
        logit = it.logits(_copied(scores), xp.log(inverse)) if it.fixed.tempered else None
        seen = None if visible is None else visible[:, None, ...]
        weights = self._weights(scores, logit)
        weights = weights if seen is None else xp.where(seen, weights, 0.0)
        borne = ops.multiply(along, weights)
        by_logit = ops.add(it.rooms.outer("by_logit", self.by_total, weights), borne)
        if logit is not None:
            self._add("inverse_temperature", xp.sum(by_logit * logit, axis=1, keepdims=True))
            claimed = self.by_claim * xp.exp(logit)
            claimed = claimed if seen is None else xp.where(seen, claimed, 0.0)
            by_logit = it.o.inverse_temperature[..., None] * by_logit + claimed
        if ratio is None or shares is None:
            return Pairs(weights, borne, by_logit * -inverse, None)
        by_ratio = self._ratio(ratio, xp.sum(by_logit, axis=1))[:, None, ...]
        shares = ops.multiply(shares, -by_ratio)
        by_sigma = ops.multiply(ops.subtract(shares, by_logit), inverse)
        return Pairs(weights, borne, by_sigma, ops.multiply(inverse, by_ratio))

    def _weights(self, scores: Scores, logit: Array | None) -> Array:
        """Return the weights of a tile below the peak of the row."""
        it, ops, ratio = self.it, self.ops, scores.ratio
        if logit is not None:
            return ops.exp(it.o.inverse_temperature[..., None] * logit - self.peak)
        if ratio is None:
            return scores.inverse
        if it.power:
            robust = integer_power(ops.reciprocal(ratio + 1.0), it.power, ops)
        else:
            logit = log_robust(it.fixed.weighting, ratio + 0.0, it.o.dof, ops)
            robust = ops.exp(ops.subtract(logit, self.peak[:, 0, ...]))
        return it.rooms.outer("weights", scores.inverse, robust[:, None, ...])

    def _ratio(self, ratio: Array, by_robust: Array) -> Array:
        """Go back from log w to r, and to ν_s."""
        it, weighting, dof = self.it, self.it.fixed.weighting, self.it.o.dof
        by_ratio = by_robust * robust_slope(weighting, ratio, dof, xp=self.xp)
        if weighting is not Gaussian:  # r has c = 1/(ν_s d)
            self._add("dof", (by_ratio * ratio / -dof)[:, None, ...])
        if weighting is StudentT and not it.power:
            self._add("dof", (-by_robust * self.xp.log1p(ratio))[:, None, ...])
        return by_ratio

    def _framed(self, rows: Any, step: Step, scores: Scores, pairs: Pairs, outward: Array) -> None:
        """Go back through the factors of a tile to its queries, and gather those of its keys."""
        ops, xp = self.ops, self.xp
        queries, keys = scores.queries, scores.keys
        assert queries is not None
        assert keys is not None
        swap = xp.matrix_transpose
        square = queries.at.decayed * queries.at.decayed
        by_keys = [self._grouped(ops.product(swap(outward), pairs.weights))]
        by_log = self._grouped(swap(xp.sum(pairs.borne, axis=-1, keepdims=True)))
        if pairs.distances is not None:
            by_own, by_residual = self.rows(rows, scores, pairs.distances)
            by_log = by_log + by_own
            by_keys.append(by_residual)
        right = xp.concat([xp.ones_like(keys.spread), keys.spread], axis=-2)
        by_spread = ops.product(right, swap(pairs.sigma))
        by_still, by_square = by_spread[:, :, :1, :], by_spread[:, :, 1:, :]
        by_keys.append(ops.product(square, pairs.sigma))
        by_log = by_log + 2.0 * square * self._grouped(by_square)
        self._add("query_noise", by_still)
        self._lags("query_times", rows, step.frame, queries.at, by_log, by_still)
        self._gather_keys(step, keys, by_keys)

    def _keys(self, step: Step, keys: Keys, by: list[Array]) -> None:
        """Go back from the factors of a tile of keys to its tokens."""
        it, xp = self.it, self.xp
        f, by_value, by_variance = keys.at.decayed, by[0], by[-1]
        self.gather.tokens("value", step.columns, it.whole(f * by_value))
        by_log = xp.sum(keys.value * by_value, axis=-2, keepdims=True)
        if it.residual:
            by_key = self._key(keys.key, by[1])
            by_log = by_log + xp.sum(keys.key * by_key, axis=-2, keepdims=True)
            self.gather.tokens("key", step.columns, it.root * it.whole(f * by_key))
        by_measured = f * f * by_variance
        by_log = by_log + 2.0 * self._grouped(it.measurement * by_measured)
        self._add("measurement", by_measured)
        self._lags("key_times", step.columns, -step.frame, keys.at, by_log, by_variance)

    def _direct(self, rows: Any, step: Step, scores: Scores, pairs: Pairs) -> None:
        """Go back through a tile whose pairs have each their own lag."""
        it, xp, gather = self.it, self.xp, self.gather
        direct, by_sigma = scores.direct, pairs.sigma
        assert direct is not None
        swap = xp.matrix_transpose
        by_value = self.ops.product(swap(self.by_carried), pairs.weights * scores.decayed)
        gather.tokens("value", step.columns, it.whole(self._grouped(by_value)))
        by_log = self._grouped(pairs.borne)
        if pairs.distances is not None:
            by_own, by_residual = self.pairs(rows, scores, pairs.distances)
            by_log = by_log + by_own
            by_key = self._key(scores.key, by_residual)
            gather.tokens("key", step.columns, it.root * it.whole(by_key))
        by_measured = scores.decayed * scores.decayed * by_sigma
        by_log = by_log + 2.0 * self._grouped(it.measurement * by_measured)
        self._add("query_noise", by_sigma)
        self._add("measurement", by_measured)
        by_lag = direct.sign * self._slopes(direct.at, by_log, by_sigma)
        by_lag = xp.sum(by_lag, axis=1)
        gather.tokens("query_times", rows, self._wide(xp.sum(by_lag, axis=-1)))
        gather.tokens("key_times", step.columns, self._wide(-xp.sum(by_lag, axis=-2)))

    def _key(self, key: Array, by: Array) -> Array:
        """Return x + 2 y f k̃ from x and y."""
        return by[:, :, :-1, :] + 2.0 * by[:, :, -1:, :] * key

    def _lags(
        self, name: str, tokens: Any, sign: int, at: Lagged, by_log: Array, by_variance: Array
    ) -> None:
        """Go back from E and V of the lags of tokens to times."""
        by_lag = sign * self._slopes(at, by_log, by_variance)
        self.gather.tokens(name, tokens, self._wide(self.xp.sum(by_lag, axis=1)[:, 0, :]))

    def _slopes(self, at: Lagged, by_log: Array, by_variance: Array) -> Array:
        """Go back from E and V to decay and process noise, and return the derivative in lags."""
        it, xp = self.it, self.xp
        driven = self._grouped(it.process * by_variance)
        bent = bend(at.lag, it.decay, xp=xp)
        found = slopes(at, bent, it.decay, xp.ones_like(it.decay), by_log, driven)
        self._add("decay", found.decay)
        self._add("process", at.walk * by_variance)
        return found.lag

    def _grouped(self, x: Array) -> Array:
        """Sum over estimates, (g, s, …) to (g, groups, …)."""
        if self.it.fixed.estimates == 1:
            return x
        return self.xp.sum(x, axis=1, keepdims=True)

    def _add(self, name: str, x: Array) -> None:
        """Add the derivative in a parameter from those in pairs or tokens, (g, s, …, …)."""
        self.gather.parameter(name, self.xp.sum(self.xp.sum(x, axis=-1), axis=-1)[:, None, :])


def _copied(scores: Scores) -> Scores:
    return scores._replace(ratio=None if scores.ratio is None else scores.ratio + 0.0)
