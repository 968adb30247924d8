"""Tokens in the order of their times, and back."""

from __future__ import annotations

from afa_core._array.arrays import Array, Namespace, device_of
from afa_core._array.products import matmul


class Order:
    """The order of tokens by keys (..., m), equal ones as they stand.

    Libraries that sort nothing, as Dask, or whose selections by indices have no derivative, as
    those of MLX, count what comes before each token instead and select by a matrix, m² numbers; so
    do devices without the integers of a sort.
    """

    def __init__(self, by: Array, *, xp: Namespace) -> None:
        self.xp = xp
        self.indices = _sorting(by, xp=xp)
        if self.indices is not None:
            return
        place = xp.arange(by.shape[-1], dtype=by.dtype, device=device_of(by))
        own, other = by[..., :, None], by[..., None, :]
        tied = xp.logical_and(other == own, place < place[:, None])
        earlier = xp.astype(xp.logical_or(other < own, tied), by.dtype)
        rank = xp.sum(earlier, axis=-1)[..., None, :]
        self.matrix = xp.astype(rank == place[:, None], by.dtype)

    def sort(self, x: Array) -> Array:
        """Return tokens (..., m, d) in order."""
        if self.indices is not None:
            return self._take(x, self.indices[0])
        return self._select(x, self.matrix)

    def restore(self, x: Array) -> Array:
        """Return tokens (..., m, d) that are in order as they were."""
        if self.indices is not None:
            return self._take(x, self.indices[1])
        return self._select(x, self.xp.matrix_transpose(self.matrix))

    def _take(self, x: Array, indices: Array) -> Array:
        indices = self.xp.broadcast_to(indices[..., None], x.shape)
        return self.xp.take_along_axis(x, indices, axis=-2)

    def _select(self, x: Array, matrix: Array) -> Array:
        selected = matmul(matrix, self.xp.astype(x, matrix.dtype, copy=False), xp=self.xp)
        return selected > 0.5 if self.xp.isdtype(x.dtype, "bool") else selected


def _sorting(by: Array, *, xp: Namespace) -> tuple[Array, Array] | None:
    """Return the indices that sort tokens and those that restore them, None if there are none."""
    needed = "argsort", "take_along_axis", "nonzero"  # the last one is not in MLX
    if not all(hasattr(xp, name) for name in needed):
        return None
    try:
        sorting = xp.argsort(by, axis=-1)
        return sorting, xp.argsort(sorting, axis=-1)
    except ValueError:
        return None
