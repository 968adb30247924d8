"""Matrix products with the many tokens of a cache, which are read once and never repeated."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod

from afa_core._array.arrays import Array, Namespace
from afa_core._array.products import matmul


def dot_products(query: Array, key: Array, *, xp: Namespace) -> Array:
    """Return the dot products of queries (..., n, c) with keys (..., m, c), (..., n, m)."""

    def product(q: Array, k: Array) -> Array:  # the faster order for a single query
        return xp.matrix_transpose(matmul(k, xp.matrix_transpose(q), xp=xp))

    return _grouped(query, key, product, xp=xp)


def weighted_values(weights: Array, value: Array, *, xp: Namespace) -> Array:
    """Return Σ_j weight_ij v_j of weights (..., n, m) and values (..., m, c), (..., n, c)."""
    return _grouped(weights, value, partial(matmul, xp=xp), xp=xp)


def _grouped(
    few: Array, many: Array, product: Callable[[Array, Array], Array], *, xp: Namespace
) -> Array:
    """Fold the leading axes that only `few` has into its rows: `matmul` would repeat `many`."""
    rank = max(few.ndim, many.ndim) - 2
    leading, shared = _leading(few, rank), _leading(many, rank)
    own = [axis for axis in range(rank) if shared[axis] == 1 and leading[axis] != 1]
    if not own:
        return product(few, many)
    common = [axis for axis in range(rank) if axis not in own]
    order = (*common, *own)
    few = xp.permute_dims(xp.reshape(few, (*leading, *few.shape[-2:])), (*order, rank, rank + 1))
    grouped = few.shape[:-1]
    few = xp.reshape(few, (*grouped[: len(common)], prod(grouped[len(common) :]), few.shape[-1]))
    result = product(few, xp.reshape(many, (*(shared[i] for i in common), *many.shape[-2:])))
    unfolded = (*result.shape[:-2], *grouped[len(common) :], result.shape[-1])
    inverse = sorted(range(rank), key=order.__getitem__)
    return xp.permute_dims(xp.reshape(result, unfolded), (*inverse, rank, rank + 1))


def _leading(x: Array, rank: int) -> tuple[int, ...]:
    """Return the leading axes, filled up to `rank` of them by axes of length 1."""
    return (1,) * (rank + 2 - x.ndim) + tuple(x.shape[:-2])
