"""A tile of isotropic attention (spec §4): x, Σ and E of its pairs, in few operations.

With x = Σ + cρ and c = 1/(ν_s d), a Student-t weight is Σ^{p−1} x^{−p}, p = ν_s + 1, and a rational
one x^{−1}. Through a frame t_c between keys and queries everything factors,

    E = e f,   Σ = a + e² g,   e = E(t_i − t_c),   a = γ² + V(t_i − t_c),
                               f = E(t_c − t_j),   g = V(t_c − t_j) + f²η²,

every term positive and every factor at most 1, so that x is a matrix product and two sums,

    x = (−2c e q̃) · (f k̃) + (a + c‖q‖²) + e² (g + c f²‖k‖²).

Weights that take a logarithm have x = cρ instead, the same without a and g. A panel of queries has
a time t_p of its own between its queries and all frames: E and V from t_c to t_i are those from t_c
to t_p, a number a tile, followed by those from t_p to t_i, which all tiles share.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

from afa_core._array.arrays import Array, device_of
from afa_core.streaming.blocks import Step
from afa_core.streaming.forward.sums import Result, Sums, add_logits, nothing, result
from afa_core.streaming.lags import Lagged, following, frame_time, lagged
from afa_core.streaming.operands import scale_of
from afa_core.streaming.pair_weights import integer_power, logits, power_weights
from afa_core.streaming.ranges import Units, units
from afa_core.streaming.tiles import Given, Tiles, between


class Keys(NamedTuple):
    """A tile of keys in its frame."""

    turned: Array  # f k̃, (g, m, 2d)
    last: Array  # g + c f²‖k‖², or without g, (g, m, 1)
    spread: Array  # g, (g, m, 1)
    value: Array  # f ṽ, (g, m, 2d_v)
    at: Lagged  # of t_c − t_j, (g, m, 1)
    time: Array  # t_c, (g, 1, 1)


class Queries(NamedTuple):
    """A panel of queries in a frame: that of a tile, or one of its own."""

    turned: Array  # −2c e q̃ in the unit of x, (g, n, 2d)
    first: Array  # a + c‖q‖², or without a, in the unit of x, (g, n, 1)
    square: Array  # e² in the unit of x
    still: Array  # a in the unit of Σ
    spread: Array  # e² in the unit of Σ
    at: Lagged  # of t_i − t_c


class Direct(NamedTuple):
    """A tile without a frame: what every pair has of its own, (g, n, m)."""

    decayed: Array  # E
    sigma: Array


class Scores(NamedTuple):
    """x and Σ of a tile, and E ṽ as (e of queries, f ṽ) or as (E of pairs, ṽ)."""

    x: Array | None
    sigma: Array | None
    decayed: Array  # (g, n, 1) or (g, n, m)
    value: Array  # (g, m, 2d_v)
    queries: Queries | None = None
    keys: Keys | None = None
    direct: Direct | None = None


class Isotropic(Tiles):
    """The tiles of one evaluation."""

    def __init__(self, given: Given) -> None:
        super().__init__(given)
        o, xp = self.o, self.xp
        self.c = scale_of(self.fixed, o, xp=xp)
        self.unit: Units = units(o, self.norms, self.c, self.power, xp=xp)
        self.spread = self.power != 1  # whether weights depend on Σ by itself

    def nothing(self, rows: Any, *, precise: bool) -> Sums:
        """Return the sums over no key."""
        query, claim = self.o.query, precise and self.fixed.tempered
        shape, width = (query.shape[0], len(rows)), self.o.value.shape[-1]
        sums = nothing(shape, width, query, claim=claim, xp=self.xp)
        return sums._replace(peak=self.ops.cut(self.unit.peak, rows)) if self.power else sums

    def result(self, sums: Sums, rows: Any) -> Result:
        """Return the estimate of a panel."""
        found = result(sums, xp=self.xp)
        if not self.power:
            return found
        per_x = self.ops.cut(self.unit.per_x, rows)
        precision = sums.total * per_x  # exp(peak) is these powers, with the rounding of its size
        if self.spread:
            ratio = per_x / self.unit.per_sigma
            precision = precision * integer_power(ratio, self.power - 1, self.ops)
        return found._replace(precision=precision)

    def add(self, sums: Sums, rows: Any, step: Step, visible: Array | None) -> Sums:
        """Add a tile to the sums of a panel of queries."""
        scores, ops, xp = self.scores(rows, step, visible), self.ops, self.xp
        if self.power:
            assert scores.x is not None
            weights = power_weights(scores.x, scores.sigma, self.power, ops)
            if visible is not None:
                weights = ops.seen(weights, visible)
            total = ops.add(sums.total, xp.sum(weights, axis=-1, keepdims=True))
            sums = sums._replace(total=total)
        else:
            logit = logits(self.fixed.weighting, scores.x, scores.sigma, self.o.dof, ops)
            cooled = self.o.inverse_temperature if self.fixed.tempered else None
            sums, weights = add_logits(sums, logit, visible, cooled, ops, xp=xp)
        return sums._replace(carried=self._carried(sums.carried, weights, scores))

    def _carried(self, carried: Array, weights: Array, scores: Scores) -> Array:
        """Add Σ_j weight_ij E_ij ṽ_j; may overwrite both."""
        ops, rooms = self.ops, self.rooms
        if scores.direct is not None:
            weights = ops.multiply(weights, scores.decayed)
            return rooms.add_product("carried", carried, weights, scores.value)
        framed = rooms.product("carried", weights, scores.value)
        return ops.add_product(carried, framed, scores.decayed)

    def scores(self, rows: Any, step: Step, visible: Array | None) -> Scores:
        """Return what the weights of a tile are made of."""
        ops, rooms, swap = self.ops, self.rooms, self.xp.matrix_transpose
        x = sigma = None
        if step.frame:
            keys = self.keys(step)
            queries = self._queries(rows, step, keys.time)
            if self.residual:
                x = rooms.affine("x", queries.first, queries.square, swap(keys.last))
                x = rooms.add_product("product", x, queries.turned, swap(keys.turned))
            if self.spread:
                sigma = rooms.affine("sigma", queries.still, queries.spread, swap(keys.spread))
            found = Scores(x, sigma, queries.at.decayed, keys.value, queries, keys)
        else:
            direct = self._direct(rows, step.columns, visible)
            if self.residual:
                x = self._direct_x(rows, step.columns, direct)
            if self.spread:
                sigma = rooms.outer("sigma", direct.sigma, self.unit.per_sigma)
            value = ops.cut(self.o.value, step.columns)
            found = Scores(x, sigma, direct.decayed, value, direct=direct)
        if x is not None:
            x = ops.maximum(x, ops.cut(self.unit.floor, rows))
        return found._replace(x=x)

    def keys(self, step: Step) -> Keys:
        """Carry a tile of keys to its frame."""
        return cast(Keys, self.keep(step, lambda: self._keys(step)))

    def _keys(self, step: Step) -> Keys:
        o, xp = self.o, self.xp
        key, value, key2, times = (
            self.ops.cut(x, step.columns) for x in (o.key, o.value, self.norms.key, o.key_times)
        )
        time = frame_time(times, step.frame, xp=xp)
        lag = self.narrow(step.frame * (time - times))
        at = self.lagged(lag, o.decay, ("keys", len(step.columns), step.frame))
        f = at.decayed
        spread = o.process * at.walk + f * f * o.measurement  # g
        last = self.c * f * f * key2
        last = spread + last if self.power else last
        # a time that is NaN shows in the weights of who sees it, and in nothing else
        value = xp.where(xp.isnan(f), 0.0, f) * value
        return Keys(f * key, last, spread, value, at, time)

    def _queries(self, rows: Any, step: Step, time: Array) -> Queries:
        """Carry a panel of queries to the frame of a tile, whose time is given."""
        frame = step.frame
        own, panel = self.keep_last(f"panel {frame}", rows, lambda: self._panel(rows, frame))
        lag = self.narrow(frame * (own - time))
        since = self.lagged(lag, self.o.decay, between(rows, step.columns))
        square, driven = since.decayed * since.decayed, self.o.process * since.walk
        first, still, spread = panel.first, panel.still, panel.spread
        if self.power:
            first = first + panel.square * driven
        if self.spread:
            still, spread = still + spread * driven, spread * square
        return Queries(
            turned=panel.turned * since.decayed,
            first=first,
            square=panel.square * square,
            still=still,
            spread=spread,
            at=following(since, panel.at),
        )

    def _panel(self, rows: Any, frame: int) -> tuple[Array, Queries]:
        """Carry a panel of queries to a time between it and the tiles on one side; say which."""
        o, xp = self.o, self.xp
        query, query2, times, per_x = (
            self.ops.cut(x, rows)
            for x in (o.query, self.norms.query, o.query_times, self.unit.per_x)
        )
        time = frame_time(times, -frame, xp=xp)
        lag = self.narrow(frame * (times - time))
        at = self.lagged(lag, o.decay, ("queries", len(rows), frame))
        e, per_sigma = at.decayed, self.unit.per_sigma
        still = o.query_noise + o.process * at.walk  # a
        first = still + self.c * query2 if self.power else self.c * query2
        return time, Queries(
            (-2.0 * self.c * e * per_x) * query,
            first * per_x,
            e * e * per_x,
            still * per_sigma,
            e * e * per_sigma,
            at,
        )

    def _direct(self, rows: Any, columns: Any, visible: Array | None) -> Direct:
        """Evaluate E and Σ pair by pair."""
        o, xp = self.o, self.xp

        def evaluate(lag: Array) -> tuple[Array, ...]:
            at = lagged(lag, o.decay, xp=xp)
            driven = o.process * at.walk
            return at.decayed, driven + at.decayed * at.decayed * o.measurement + o.query_noise

        return Direct(*self.of_lags("direct", evaluate, rows, columns, visible))

    def of_lags(
        self,
        name: str,
        function: Callable[[Array], tuple[Array, ...]],
        rows: Any,
        columns: Any,
        visible: Array | None,
    ) -> tuple[Array, ...]:
        """Evaluate functions of |Δ| of the pairs of a tile, (g, n, m); hidden pairs have lag zero.

        On a regular grid they are evaluated once for every diagonal of the tile, and kept.
        """
        if not self.fixed.regular:
            lag = self.lag(rows, columns)
            lag = lag if visible is None else self.xp.where(visible, lag, 0.0)
            return function(self.narrow(abs(lag)))
        own = name, rows.start - columns.start, len(rows), len(columns)
        kept = self.keep(own, lambda: self._toeplitz(function, rows, columns))
        return cast(tuple[Array, ...], kept)

    def _toeplitz(
        self, function: Callable[[Array], tuple[Array, ...]], rows: Any, columns: Any
    ) -> tuple[Array, ...]:
        """Evaluate functions of |Δ| on a regular grid, counted from the last tokens of the tile."""
        o, ops, xp, n, m = self.o, self.ops, self.xp, len(rows), len(columns)
        device = device_of(o.query)
        last = ops.cut(o.query_times, rows)[:, -1:, :] - ops.cut(o.key_times, columns)[:, -1:, :]
        lag = last + xp.arange(m - 1, -n, -1, dtype=last.dtype, device=device)
        return tuple(ops.toeplitz(x, n, m) for x in function(self.narrow(abs(lag))))

    def _direct_x(self, rows: Any, columns: Any, direct: Direct) -> Array:
        """Return x in its unit, for a tile without a frame."""
        ops, xp, c = self.ops, self.xp, self.c
        query, query2 = ops.cut(self.o.query, rows), ops.cut(self.norms.query, rows)
        key, key2 = ops.cut(self.o.key, columns), ops.cut(self.norms.key, columns)
        x = self.rooms.product("x", -2.0 * c * query, xp.matrix_transpose(key))
        x = ops.add_product(x, direct.decayed, c * xp.matrix_transpose(key2))
        x = ops.add(ops.multiply(x, direct.decayed), c * query2)
        x = ops.add(x, direct.sigma) if self.power else x
        return ops.multiply(x, ops.cut(self.unit.per_x, rows))
