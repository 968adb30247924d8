"""A tile of radial–tangential attention (spec §6): residuals along and across the query.

With u = q̃/‖q‖ and E u†k̃ = P + iB they are (‖q‖ − P)² + B² and E²‖k‖² − P² − B²; two products.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

from afa_core._array.arrays import Array, Namespace
from afa_core.streaming.forward.components import Scores, Sets
from afa_core.streaming.tiles import Given


class Parts(NamedTuple):
    """Residuals and what they are made of, in the unit 1/√c."""

    beyond: Array  # P − ‖q‖, (g, n, m)
    aside: Array  # B, (g, n, m)
    across: Array  # squared residual across the query, (g, n, m)


class RadialTangential(Sets):
    """The tiles of one evaluation."""

    def __init__(self, given: Given) -> None:
        super().__init__(given)
        o, xp = self.o, self.xp
        length = xp.sqrt(self.norms.query)
        known = length > 0.0
        self.per_length = xp.where(known, 1.0 / xp.where(known, length, 1.0), 0.0)
        self.length = self.root * length
        self.along = self.per_length * o.query  # u
        self.aside = turned(self.along, xp=xp)  # i u

    def sides(self, rows: Any) -> Array:
        """Return u and i u of a panel, (g, 1, 2d, 2n)."""

        def make() -> Array:
            sides = (self.tokens(x, rows) for x in (self.along, self.aside))
            return self.xp.concat(list(sides), axis=-1)

        return cast(Array, self.keep(rows, make))

    def distances(self, rows: Any, scores: Scores) -> tuple[Array, Parts]:
        """Return the residuals along and across the query."""
        ops, xp, rooms = self.ops, self.xp, self.rooms
        decayed, key = scores.decayed, scores.key
        inner = rooms.product("inner", xp.matrix_transpose(self.sides(rows)), key)
        inner = xp.reshape(inner, scores.inverse.shape)
        inner = ops.multiply(inner, decayed)
        square = rooms.outer("square", inner, inner)
        key2 = xp.sum(key * key, axis=-2, keepdims=True)
        across = rooms.outer("across", decayed * decayed, key2)[:, 0, ...]
        across = ops.subtract(ops.subtract(across, square[:, 0, ...]), square[:, 1, ...])
        across = ops.maximum(across, xp.zeros_like(self.root))
        beyond = ops.subtract(inner[:, 0, ...], ops.cut(self.length, rows))
        along = ops.add(rooms.outer("along", beyond, beyond), square[:, 1, ...])
        return rooms.planes("distances", along, across), Parts(beyond, inner[:, 1, ...], across)


def turned(x: Array, *, xp: Namespace) -> Array:
    """Return i z of packed modes (…, 2d)."""
    modes = x.shape[-1] // 2
    return xp.concat([-x[..., modes:], x[..., :modes]], axis=-1)
