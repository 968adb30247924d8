"""A tile of diagonal attention (spec §5): a residual q̃_k − E_k k̃_k and a Σ_k of every mode."""

from __future__ import annotations

from afa_core._array.arrays import Array
from afa_core._array.masks import TokenRange
from afa_core.streaming.forward.component_factors import ComponentScores
from afa_core.streaming.forward.components import ComponentTiles


class Diagonal(ComponentTiles):
    """The tiles of one evaluation of the diagonal form."""

    def queries(self, rows: TokenRange) -> Array:
        """Return √c q̃ of a block of queries, (g, d, 2, n)."""
        return self.cached(rows, lambda: self.tokens_in_groups(self.query, rows))

    def distances(self, rows: TokenRange, scores: ComponentScores) -> tuple[Array, None]:
        """Return the squared residual of every mode."""
        ops, swap = self.ops, self.xp.matrix_transpose
        query, key = self.queries(rows), scores.key

        def square(name: str, part: slice) -> Array:
            x = self.workspace.outer(name, scores.decayed, key[:, :, part, :])
            x = ops.subtract(x, swap(query[:, :, part, :]))
            return ops.multiply(x, x)

        return ops.add(square("real", slice(0, 1)), square("imag", slice(1, 2))), None
