"""Gradients of the residuals of radial–tangential attention, along and across the query."""

from __future__ import annotations

from afa_core._array.arrays import Array
from afa_core._array.masks import TokenRange
from afa_core.streaming.backward.components import ComponentsBackward
from afa_core.streaming.component_layout import join_groups
from afa_core.streaming.forward.component_factors import ComponentScores, QueryResiduals
from afa_core.streaming.forward.radial_tangential import (
    RadialTangential,
    squared_keys,
    times_i,
)


class RadialTangentialBackward(ComponentsBackward[RadialTangential]):
    """Gradients of the tiles of one evaluation of the radial–tangential form."""

    def factored_residuals(
        self, rows: TokenRange, scores: ComponentScores, grad: Array
    ) -> tuple[Array, Array]:
        """Propagate to queries, log e and keys."""
        ops, xp, swap = self.ops, self.xp, self.xp.matrix_transpose
        grad_inner, grad_across = self._inner(rows, scores, grad)
        e, key = swap(scores.decayed), scores.key
        doubled = xp.concat([e, e], axis=-1)
        directions = doubled * self.tiles.directions(rows)
        grad_directions = ops.product(key, swap(grad_inner))
        self._add_query(rows, scores, doubled * grad_directions, grad)
        key2 = squared_keys(key, xp=xp)
        grad_log = xp.sum(directions * grad_directions, axis=-2, keepdims=True)
        grad_log = grad_log[..., : len(rows)] + grad_log[..., len(rows) :]
        grad_log = grad_log + 2.0 * e * e * ops.product(key2, swap(grad_across))
        grad_key = ops.product(directions, grad_inner)
        return grad_log, xp.concat([grad_key, ops.product(e * e, grad_across)], axis=-2)

    def pairwise_residuals(
        self, rows: TokenRange, scores: ComponentScores, grad: Array
    ) -> tuple[Array, Array]:
        """Propagate to queries, log E and keys, with an E of every pair."""
        ops, xp, swap = self.ops, self.xp, self.xp.matrix_transpose
        grad_inner, grad_across = self._inner(rows, scores, grad)
        decayed, key = scores.decayed, scores.key
        squared = decayed * decayed * grad_across
        key2 = squared_keys(key, xp=xp)
        real, imag = self._real(rows, scores), _residuals(scores).imag
        grad_real, grad_imag = (
            grad_inner[:, 0, : len(rows), :],
            grad_inner[:, 0, len(rows) :, :],
        )
        grad_log = (real * grad_real + imag * grad_imag)[:, None, ...] + 2.0 * squared * key2
        grad_inner = grad_inner * xp.concat([decayed, decayed], axis=-2)
        self._add_query(rows, scores, ops.product(key, swap(grad_inner)), grad)
        grad_key = ops.product(self.tiles.directions(rows), grad_inner)
        return grad_log, xp.concat([grad_key, xp.sum(squared, axis=-2, keepdims=True)], axis=-2)

    def _inner(self, rows: TokenRange, scores: ComponentScores, grad: Array) -> tuple[Array, Array]:
        """Return the gradients in P above those in B, (g, 1, 2n, m), and in E²‖k‖²."""
        xp, residuals = self.xp, _residuals(scores)
        # where the residual across is cut off at zero its derivative vanishes by itself
        grad_along, grad_across = grad[:, 0, ...], grad[:, 1, ...]
        real = 2.0 * (residuals.along * grad_along - self._real(rows, scores) * grad_across)
        imag = 2.0 * residuals.imag * (grad_along - grad_across)
        return xp.concat([real, imag], axis=-2)[:, None, ...], grad_across[:, None, ...]

    def _real(self, rows: TokenRange, scores: ComponentScores) -> Array:
        """Return P."""
        return _residuals(scores).along + self.ops.cut(self.tiles.length, rows)

    def _add_query(
        self, rows: TokenRange, scores: ComponentScores, grad_directions: Array, grad: Array
    ) -> None:
        """Propagate the gradients in u, i u and ‖q‖ to the queries."""
        tiles, xp = self.tiles, self.xp
        unit, per_length = (tiles.ops.cut(x, rows) for x in (tiles.direction, tiles.per_length))
        grad_unit = join_groups(grad_directions[..., : len(rows)], xp=xp)
        rotated = join_groups(grad_directions[..., len(rows) :], xp=xp)
        grad_unit = grad_unit - times_i(rotated, xp=xp)
        grad_unit = grad_unit - unit * xp.sum(unit * grad_unit, axis=-1, keepdims=True)
        along = _residuals(scores).along * grad[:, 0, ...]
        grad_length = -2.0 * xp.sum(along, axis=-1, keepdims=True)
        total = per_length * grad_unit + tiles.root * grad_length * unit
        self.grads.tokens("query", rows, total)


def _residuals(scores: ComponentScores) -> QueryResiduals:
    assert scores.residuals is not None
    return scores.residuals
