"""Back from the residuals of diagonal attention, |q − E κ|² in every mode, q = √c q̃, κ = √c k̃."""

from __future__ import annotations

from typing import Any

from afa_core._array.arrays import Array
from afa_core.streaming.backward.components import SetsBack
from afa_core.streaming.forward.components import Scores
from afa_core.streaming.forward.diagonal import Diagonal


class DiagonalBack(SetsBack[Diagonal]):
    """Derivatives of the tiles of one evaluation."""

    def rows(self, rows: Any, scores: Scores, by: Array) -> tuple[Array, Array]:
        """Go back to queries, log e and keys, by one product to each side."""
        it, ops, xp = self.it, self.ops, self.xp
        query, key = it.queries(rows), scores.key
        e = xp.matrix_transpose(scores.decayed)
        key2 = xp.sum(key * key, axis=-2, keepdims=True)
        right = xp.concat([key, xp.ones_like(key2), key2], axis=-2)
        summed = ops.product(right, xp.matrix_transpose(by))
        crossed, plain, square = (summed[:, :, part, :] for part in PARTS)
        self.gather.tokens("query", rows, it.root * it.whole(2.0 * (plain * query - e * crossed)))
        by_log = 2.0 * e * (e * square - xp.sum(query * crossed, axis=-2, keepdims=True))
        left = xp.concat([-2.0 * e * query, e * e], axis=-2)
        return by_log, ops.product(left, by)

    def pairs(self, rows: Any, scores: Scores, by: Array) -> tuple[Array, Array]:
        """Do it with an E of every pair."""
        it, ops, xp = self.it, self.ops, self.xp
        query, key = it.queries(rows), scores.key
        swap = xp.matrix_transpose
        faded = by * scores.decayed
        twice = faded * scores.decayed
        plain, crossed = swap(xp.sum(by, axis=-1, keepdims=True)), ops.product(key, swap(faded))
        self.gather.tokens("query", rows, it.root * it.whole(2.0 * (plain * query - crossed)))
        key2 = xp.sum(key * key, axis=-2, keepdims=True)
        by_log = 2.0 * (twice * key2 - faded * ops.product(swap(query), key))
        by_key = ops.product(-2.0 * query, faded)
        return by_log, xp.concat([by_key, xp.sum(twice, axis=-2, keepdims=True)], axis=-2)


PARTS = slice(0, 2), slice(2, 3), slice(3, 4)
"""Where sums over keys with κ, with 1 and with |κ|² stand."""
