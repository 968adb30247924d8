"""Back from the residuals of radial–tangential attention along and across the query."""

from __future__ import annotations

from typing import Any

from afa_core._array.arrays import Array
from afa_core.streaming.backward.components import SetsBack
from afa_core.streaming.forward.components import Scores
from afa_core.streaming.forward.radial_tangential import RadialTangential, turned


class RadialTangentialBack(SetsBack[RadialTangential]):
    """Derivatives of the tiles of one evaluation."""

    def rows(self, rows: Any, scores: Scores, by: Array) -> tuple[Array, Array]:
        """Go back to queries, log e and keys."""
        ops, xp = self.ops, self.xp
        swap = xp.matrix_transpose
        by_inner, by_across = self._inner(rows, scores, by)
        e, key = swap(scores.decayed), scores.key
        twice = xp.concat([e, e], axis=-1)
        sides = twice * self.it.sides(rows)
        by_sides = ops.product(key, swap(by_inner))
        self._query(rows, scores, twice * by_sides, by)
        key2 = xp.sum(key * key, axis=-2, keepdims=True)
        by_log = xp.sum(sides * by_sides, axis=-2, keepdims=True)
        by_log = by_log[..., : len(rows)] + by_log[..., len(rows) :]
        by_log = by_log + 2.0 * e * e * ops.product(key2, swap(by_across))
        by_key = ops.product(sides, by_inner)
        return by_log, xp.concat([by_key, ops.product(e * e, by_across)], axis=-2)

    def pairs(self, rows: Any, scores: Scores, by: Array) -> tuple[Array, Array]:
        """Do it with an E of every pair."""
        ops, xp = self.ops, self.xp
        swap = xp.matrix_transpose
        by_inner, by_across = self._inner(rows, scores, by)
        decayed, key = scores.decayed, scores.key
        by_square = decayed * decayed * by_across
        key2 = xp.sum(key * key, axis=-2, keepdims=True)
        real, imag = self._real(rows, scores), scores.parts.aside
        above, below = by_inner[:, :, : len(rows), :], by_inner[:, :, len(rows) :, :]
        by_log = real * above[:, 0, ...] + imag * below[:, 0, ...]
        by_log = by_log[:, None, ...] + 2.0 * by_square * key2
        by_inner = by_inner * xp.concat([decayed, decayed], axis=-2)
        self._query(rows, scores, ops.product(key, swap(by_inner)), by)
        by_key = ops.product(self.it.sides(rows), by_inner)
        return by_log, xp.concat([by_key, xp.sum(by_square, axis=-2, keepdims=True)], axis=-2)

    def _inner(self, rows: Any, scores: Scores, by: Array) -> tuple[Array, Array]:
        """Return the derivatives in P over those in B, (g, 1, 2n, m), and in E²‖k‖²."""
        beyond, aside, across = scores.parts
        by_along, by_across = by[:, 0, ...], self.xp.where(across > 0.0, by[:, 1, ...], 0.0)
        real = 2.0 * (beyond * by_along - self._real(rows, scores) * by_across)
        imag = 2.0 * aside * (by_along - by_across)
        return self.xp.concat([real, imag], axis=-2)[:, None, ...], by_across[:, None, ...]

    def _real(self, rows: Any, scores: Scores) -> Array:
        """Return P."""
        beyond: Array = scores.parts.beyond
        return beyond + self.ops.cut(self.it.length, rows)

    def _query(self, rows: Any, scores: Scores, by_sides: Array, by: Array) -> None:
        """Go back from u, i u and ‖q‖ to queries."""
        it, xp = self.it, self.xp
        unit, per_length = (it.ops.cut(x, rows) for x in (it.along, it.per_length))
        by_unit = it.whole(by_sides[..., : len(rows)])
        by_unit = by_unit - turned(it.whole(by_sides[..., len(rows) :]), xp=xp)
        by_unit = by_unit - unit * xp.sum(unit * by_unit, axis=-1, keepdims=True)
        by_length = -2.0 * xp.sum(scores.parts.beyond * by[:, 0, ...], axis=-1, keepdims=True)
        self.gather.tokens("query", rows, per_length * by_unit + it.root * by_length * unit)
