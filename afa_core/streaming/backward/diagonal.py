"""Gradients of the residuals of diagonal attention, |q − E κ|² per mode; q = √c q̃, κ = √c k̃."""

from __future__ import annotations

from afa_core._array.arrays import Array
from afa_core._array.masks import TokenRange
from afa_core.streaming.backward.components import ComponentsBackward
from afa_core.streaming.component_layout import join_groups
from afa_core.streaming.forward.component_factors import ComponentScores
from afa_core.streaming.forward.diagonal import Diagonal

CROSSED, PLAIN, SQUARED = slice(0, 2), slice(2, 3), slice(3, 4)
"""Where the sums over keys with κ, with 1 and with |κ|² are in a product of all three."""


class DiagonalBackward(ComponentsBackward[Diagonal]):
    """Gradients of the tiles of one evaluation of the diagonal form."""

    def factored_residuals(
        self, rows: TokenRange, scores: ComponentScores, grad: Array
    ) -> tuple[Array, Array]:
        """Propagate to queries, log e and keys, by one product to each side."""
        ops, xp = self.ops, self.xp
        query, key = self.tiles.queries(rows), scores.key
        e = xp.matrix_transpose(scores.decayed)
        key2 = xp.sum(key * key, axis=-2, keepdims=True)
        right = xp.concat([key, xp.ones_like(key2), key2], axis=-2)
        sums = ops.product(right, xp.matrix_transpose(grad))
        crossed, plain, squared = (sums[:, :, part, :] for part in (CROSSED, PLAIN, SQUARED))
        self._add_query(rows, 2.0 * (plain * query - e * crossed))
        grad_log = 2.0 * e * (e * squared - xp.sum(query * crossed, axis=-2, keepdims=True))
        left = xp.concat([-2.0 * e * query, e * e], axis=-2)
        return grad_log, ops.product(left, grad)

    def pairwise_residuals(
        self, rows: TokenRange, scores: ComponentScores, grad: Array
    ) -> tuple[Array, Array]:
        """Propagate to queries, log E and keys, with an E of every pair."""
        ops, xp, swap = self.ops, self.xp, self.xp.matrix_transpose
        query, key = self.tiles.queries(rows), scores.key
        once = grad * scores.decayed
        twice = once * scores.decayed
        plain, crossed = swap(xp.sum(grad, axis=-1, keepdims=True)), ops.product(key, swap(once))
        self._add_query(rows, 2.0 * (plain * query - crossed))
        key2 = xp.sum(key * key, axis=-2, keepdims=True)
        grad_log = 2.0 * (twice * key2 - once * ops.product(swap(query), key))
        grad_key = ops.product(-2.0 * query, once)
        return grad_log, xp.concat([grad_key, xp.sum(twice, axis=-2, keepdims=True)], axis=-2)

    def _add_query(self, rows: TokenRange, grad: Array) -> None:
        """Add the gradient in √c q̃, (g, d, 2, n), to the queries."""
        self.grads.tokens("query", rows, self.tiles.root * join_groups(grad, xp=self.xp))
