"""A tile of the forms with several covariances and one robust weight (spec §5, §6).

A pair has a Σ_s for every set s of weights, along and across the anchor or one for every mode, and
a squared residual ρ_s. With r = Σ_s cρ_s/Σ_s, c = 1/(ν_s d), it weighs w(r)/Σ_s: w, common to all
sets, costs one power or exponential a pair, and a set no more than a reciprocal. Through a frame
t_c between keys and queries E and Σ factor,

    E = e f,   Σ = a + e² g,   e = E(t_i − t_c),   a = γ² + V(t_i − t_c),
                               f = E(t_c − t_j),   g = V(t_c − t_j) + f²η².

Arrays of pairs are (g, s, n, m): sums over sets add planes. Those of tokens are (g, s, channels,
tokens), so that in products the narrow matrix is the first and none has to be rearranged. Modes
come in groups that share E, all in one or every one by itself; sets are groups times estimates.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple, cast

from afa_core._array.arrays import Array
from afa_core.reference.softmax import hide
from afa_core.streaming.blocks import Step
from afa_core.streaming.forward.sums import Result, Sums, add_logits, lifted, nothing, result
from afa_core.streaming.lags import Lagged, flushed, following, frame_time, lagged
from afa_core.streaming.operands import scale_of
from afa_core.streaming.pair_weights import integer_power, log_robust
from afa_core.streaming.tiles import Given, Tiles, between


class Keys(NamedTuple):
    """A tile of keys in its frame."""

    key: Array  # √c f k̃, (g, groups, channels, m)
    value: Array  # f ṽ, (g, groups, channels, m)
    spread: Array  # g, (g, s, 1, m)
    at: Lagged  # of t_c − t_j, (g, groups, 1, m)
    time: Array  # t_c, (g, 1, 1)


class Queries(NamedTuple):
    """A panel of queries in the frame of a tile."""

    at: Lagged  # of t_i − t_c, (g, groups, 1, n)
    still: Array  # a, (g, s, 1, n)


class Direct(NamedTuple):
    """A tile without a frame: what every pair has of its own."""

    at: Lagged  # (g, groups, n, m)
    sigma: Array  # (g, s, n, m)
    sign: Array  # of the lag, whose size `at` holds, (g, 1, n, m)


class Scores(NamedTuple):
    """What the weights of a tile are made of; E is that of pairs, or e with f in key and value."""

    inverse: Array  # 1/Σ, (g, s, n, m)
    decayed: Array  # (g, groups, n, 1) or (g, groups, n, m)
    key: Array  # √c k̃ or √c f k̃, (g, groups, channels, m)
    value: Array  # ṽ or f ṽ, (g, groups, channels, m)
    shares: Array | None = None  # cρ_s/Σ_s, (g, s, n, m)
    ratio: Array | None = None  # r, their sum, (g, n, m)
    parts: Any = None  # what a form keeps of its residuals
    queries: Queries | None = None
    keys: Keys | None = None
    direct: Direct | None = None


class Sets(Tiles, ABC):
    """The tiles of one evaluation."""

    def __init__(self, given: Given) -> None:
        super().__init__(given)
        o, fixed, xp = self.o, self.fixed, self.xp
        self.groups = fixed.sets // fixed.estimates
        self.root = xp.sqrt(scale_of(fixed, o, xp=xp))  # √c
        self.query, self.key = self.root * o.query, self.root * o.key
        parameters = o.decay, o.process, o.measurement, o.query_noise
        self.decay, self.process, self.measurement, self.query_noise = (
            xp.reshape(x, (x.shape[0], x.shape[-1], 1, 1)) for x in parameters
        )

    @abstractmethod
    def distances(self, rows: Any, scores: Scores) -> tuple[Array, Any]:
        """Return cρ_s of a tile, (g, s, n, m), and what the way back needs of it."""

    def nothing(self, rows: Any, *, precise: bool) -> Sums:
        """Return the sums over no key: in every set, those of weights below a peak."""
        query, fixed, xp = self.o.query, self.fixed, self.xp
        shape, width = (query.shape[0], fixed.sets, len(rows)), self.o.value.shape[-1]
        claim = precise and fixed.tempered
        sums = nothing(shape, width // self.groups, query, claim=claim, xp=xp)
        if fixed.tempered:
            return sums
        peak = sums.peak[:, :1, ...]  # one for all sets, that of log w
        if self.power or not self.residual:
            peak = xp.zeros_like(peak)
        return sums._replace(peak=peak)

    def result(self, sums: Sums, _: Any) -> Result:
        """Return the estimate of a panel, sets after tokens."""
        mean, *rest = result(sums, xp=self.xp)
        shape = sums.total.shape
        columns = (self.xp.broadcast_to(x, shape)[..., 0] for x in rest)
        return Result(self.in_rows(mean), *(self.xp.matrix_transpose(x) for x in columns))

    def add(self, sums: Sums, rows: Any, step: Step, visible: Array | None) -> Sums:
        """Add a tile to the sums of a panel of queries."""
        scores, ops, xp = self.scores(rows, step, visible), self.ops, self.xp
        seen = None if visible is None else visible[:, None, ...]
        if self.fixed.tempered:
            logit = self.logits(scores, ops.log(scores.inverse))
            cooled = self.o.inverse_temperature[..., None]
            sums, weights = add_logits(sums, logit, seen, cooled, ops, xp=xp)
        else:
            sums, weights = self._robust(sums, scores, visible)
            weights = weights if seen is None else ops.seen(weights, seen)
            total = ops.add(sums.total, xp.sum(weights, axis=-1, keepdims=True))
            sums = sums._replace(total=total)
        return sums._replace(carried=ops.add(sums.carried, self._carry(weights, scores)))

    def logits(self, scores: Scores, of_sets: Array) -> Array:
        """Return L_s = log w − log Σ_s; may overwrite −log Σ_s and r."""
        if scores.ratio is None:
            return of_sets
        robust = log_robust(self.fixed.weighting, scores.ratio, self.o.dof, self.ops)
        return self.ops.add(of_sets, robust[:, None, ...])

    def _robust(self, sums: Sums, scores: Scores, visible: Array | None) -> tuple[Sums, Array]:
        """Return the weights of a tile, and the sums below the peak that w now has."""
        ops, xp, ratio = self.ops, self.xp, scores.ratio
        if ratio is None:
            return sums, scores.inverse
        if self.power:
            robust = integer_power(ops.reciprocal(ops.add(ratio, 1.0)), self.power, ops)
        else:
            logit = log_robust(self.fixed.weighting, ratio, self.o.dof, ops)
            peak, robust, shrink = lifted(
                sums.peak[:, 0, ...], hide(logit, visible, xp=xp), ops, xp=xp
            )
            shrink = shrink[:, None, ...]
            total, carried = (ops.multiply(x, shrink) for x in (sums.total, sums.carried))
            sums = Sums(peak[:, None, ...], total, carried, None)
        return sums, ops.multiply(scores.inverse, robust[:, None, ...])

    def _carry(self, weights: Array, scores: Scores) -> Array:
        """Return Σ_j weight_ij E_ij ṽ_j, (g, s, n, channels); may overwrite the weights."""
        ops, xp, swap = self.ops, self.xp, self.xp.matrix_transpose
        if scores.direct is not None:
            weights = ops.multiply(weights, scores.decayed)
        heads, sets, rows, columns = weights.shape
        # estimates one below the other: all that share values are one product
        weights = xp.reshape(weights, (heads, self.groups, self.fixed.estimates * rows, columns))
        carried = swap(ops.product(scores.value, swap(weights)))
        carried = xp.reshape(carried, (heads, sets, rows, carried.shape[-1]))
        return carried if scores.direct is not None else ops.multiply(carried, scores.decayed)

    def scores(self, rows: Any, step: Step, visible: Array | None) -> Scores:
        """Return what the weights of a tile are made of."""
        ops, swap = self.ops, self.xp.matrix_transpose
        if step.frame:
            keys = self.keys(step)
            queries = self._queries(rows, step, keys.time)
            e = swap(queries.at.decayed)
            square = flushed(e * e, xp=self.xp)
            sigma = ops.add(self.rooms.outer("sigma", square, keys.spread), swap(queries.still))
            inverse = ops.reciprocal(sigma)
            found = Scores(
                inverse, flushed(e, xp=self.xp), keys.key, keys.value, queries=queries, keys=keys
            )
        else:
            direct = self._direct(rows, step.columns, visible)
            key, value = (self.tokens(x, step.columns) for x in (self.key, self.o.value))
            found = Scores(1.0 / direct.sigma, direct.at.decayed, key, value, direct=direct)
        if not self.residual:
            return found
        distances, parts = self.distances(rows, found)
        shares = ops.multiply(distances, found.inverse)
        ratio = self.rooms.over_planes("ratio", shares)
        return found._replace(shares=shares, ratio=ratio, parts=parts)

    def keys(self, step: Step) -> Keys:
        """Carry a tile of keys to its frame."""
        return cast(Keys, self.keep(step, lambda: self._keys(step)))

    def _keys(self, step: Step) -> Keys:
        xp, times = self.xp, self.ops.cut(self.o.key_times, step.columns)
        time = frame_time(times, step.frame, xp=xp)
        at = self._lagged(step.frame * (time - times), ("keys", len(step.columns), step.frame))
        f, value = at.decayed, self.tokens(self.o.value, step.columns)
        return Keys(
            f * self.tokens(self.key, step.columns),
            xp.where(xp.isnan(f), 0.0, f * value),  # weights say who sees a time that is NaN
            self.process * at.walk + f * f * self.measurement,
            at,
            time,
        )

    def _queries(self, rows: Any, step: Step, time: Array) -> Queries:
        """Carry a panel of queries to the frame of a tile, by way of a time of its own."""
        frame = step.frame

        def panel() -> tuple[Array, Lagged]:
            times = self.ops.cut(self.o.query_times, rows)
            own = frame_time(times, -frame, xp=self.xp)
            return own, self._lagged(frame * (times - own), ("queries", len(rows), frame))

        own, at = self.keep_last(f"panel {frame}", rows, panel)
        since = self._lagged(frame * (own - time), between(rows, step.columns))
        at = following(since, at)
        return Queries(at, self.query_noise + self.process * at.walk)

    def _lagged(self, lag: Array, own: Any) -> Lagged:
        """Evaluate E and V of a lag of each token, (g, tokens, 1)."""
        lag = self.xp.matrix_transpose(self.narrow(lag))[:, None, ...]
        return self.lagged(lag, self.decay, own)

    def _direct(self, rows: Any, columns: Any, visible: Array | None) -> Direct:
        """Return the lags of a tile without a frame: of regular times, one for every diagonal."""
        if not (self.fixed.regular and self.ops.keeps):
            return self._directly(rows, columns, visible)
        own = rows.start - columns.start, len(rows), len(columns)
        return cast(Direct, self.keep(own, lambda: self._directly(rows, columns, None)))

    def _directly(self, rows: Any, columns: Any, visible: Array | None) -> Direct:
        """Evaluate Σ and E pair by pair; hidden pairs have lag zero."""
        xp, lag = self.xp, self.lag(rows, columns)
        lag = lag if visible is None else xp.where(visible, lag, 0.0)
        at = lagged(self.narrow(abs(lag))[:, None, ...], self.decay, xp=xp)
        sigma = at.decayed * at.decayed * self.measurement + self.query_noise
        return Direct(at, sigma + self.process * at.walk, xp.sign(self.narrow(lag))[:, None, ...])

    def tokens(self, x: Array, tokens: Any) -> Array:
        """Cut tokens (g, tokens, 2d) and take groups apart, (g, groups, channels, tokens)."""
        xp, groups = self.xp, self.groups
        x = self.ops.cut(x, tokens)
        heads, count, width = x.shape
        x = xp.reshape(x, (heads, count, 2, groups, width // (2 * groups)))
        # by way of (g, 2d, tokens) the copy has tokens side by side in every library
        x = xp.reshape(xp.permute_dims(x, (0, 3, 2, 4, 1)), (heads, width, count))
        return xp.reshape(x, (heads, groups, width // groups, count))

    def whole(self, x: Array) -> Array:
        """Put groups together again, (g, tokens, 2d)."""
        xp = self.xp
        heads, groups, channels, count = x.shape
        x = xp.reshape(x, (heads, groups, 2, channels // 2, count))
        return xp.reshape(xp.permute_dims(x, (0, 4, 2, 1, 3)), (heads, count, groups * channels))

    def in_rows(self, x: Array) -> Array:
        """Put the channels of sets together, (g, s, n, channels) to (g, n, all of them)."""
        xp, estimates = self.xp, self.fixed.estimates
        heads, sets, count, channels = x.shape
        x = xp.reshape(x, (heads, estimates, self.groups, count, 2, channels // 2))
        return xp.reshape(xp.permute_dims(x, (0, 3, 1, 4, 2, 5)), (heads, count, sets * channels))

    def in_sets(self, x: Array) -> Array:
        """Take them apart again."""
        xp, estimates = self.xp, self.fixed.estimates
        heads, count, width = x.shape
        channels = width // self.fixed.sets
        x = xp.reshape(x, (heads, count, estimates, 2, self.groups, channels // 2))
        x = xp.reshape(xp.permute_dims(x, (0, 2, 4, 3, 5, 1)), (heads, width, count))
        return xp.matrix_transpose(xp.reshape(x, (heads, self.fixed.sets, channels, count)))
