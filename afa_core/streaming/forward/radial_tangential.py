"""A tile of radial–tangential attention (spec §6): residuals along and across the query.

With u = q̃/‖q‖ and E u†k̃ = P + iB they are (‖q‖ − P)² + B² and E²‖k‖² − P² − B²; two products.
"""

from __future__ import annotations

from afa_core._array.arrays import Array, Namespace
from afa_core._array.masks import TokenRange
from afa_core._array.pairs import length_unit
from afa_core.streaming.forward.component_factors import ComponentScores, QueryResiduals
from afa_core.streaming.forward.components import ComponentTiles
from afa_core.streaming.tiles import TileContext


class RadialTangential(ComponentTiles):
    """The tiles of one evaluation of the radial–tangential form."""

    def __init__(self, context: TileContext) -> None:
        super().__init__(context)
        xp, query = self.xp, self.operands.query
        unit = length_unit(self.norms.query, xp=xp)
        scaled = query / unit
        length = xp.sqrt(self.ops.norm2(scaled))
        nonzero = length > 0.0
        per_length = xp.where(nonzero, 1.0 / xp.where(nonzero, length, 1.0), 0.0)
        self.direction = per_length * scaled  # u
        self.per_length = per_length / unit
        self.length = self.root * (unit * length)
        self.rotated_direction = times_i(self.direction, xp=xp)  # i u

    def directions(self, rows: TokenRange) -> Array:
        """Return u and i u of a block of queries, (g, 1, 2d, 2n)."""

        def make() -> Array:
            both = self.direction, self.rotated_direction
            return self.xp.concat([self.tokens_in_groups(x, rows) for x in both], axis=-1)

        return self.cached(rows, make)

    def distances(self, rows: TokenRange, scores: ComponentScores) -> tuple[Array, QueryResiduals]:
        """Return the squared residuals along and across the query."""
        ops, xp, workspace = self.ops, self.xp, self.workspace
        decayed, key = scores.decayed, scores.key
        inner = workspace.product("inner", xp.matrix_transpose(self.directions(rows)), key)
        inner = ops.multiply(xp.reshape(inner, scores.inverse.shape), decayed)
        square = workspace.outer("square", inner, inner)
        key2 = squared_keys(key, xp=xp)
        across = workspace.outer("across", decayed * decayed, key2)[:, 0, ...]
        across = ops.subtract(ops.subtract(across, square[:, 0, ...]), square[:, 1, ...])
        across = ops.maximum(across, xp.zeros_like(self.root))
        along = ops.subtract(inner[:, 0, ...], ops.cut(self.length, rows))
        squared = ops.add(workspace.outer("along", along, along), square[:, 1, ...])
        distances = workspace.stack_components("distances", squared, across)
        return distances, QueryResiduals(along, inner[:, 1, ...])


def squared_keys(key: Array, *, xp: Namespace) -> Array:
    """Return ‖k‖² of keys (g, 1, 2d, m)."""
    return xp.sum(key * key, axis=-2, keepdims=True)


def times_i(x: Array, *, xp: Namespace) -> Array:
    """Return i z for packed modes z (…, 2d)."""
    modes = x.shape[-1] // 2
    return xp.concat([-x[..., modes:], x[..., :modes]], axis=-1)
