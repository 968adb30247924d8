"""Matrix products in full precision."""

from __future__ import annotations

from typing import Any, cast

import array_api_compat

from afa_core._array.arrays import Array, Namespace


def matmul(a: Array, b: Array, *, xp: Namespace) -> Array:
    """Return the matrix product, its factors rounded to no fewer bits than their dtype has.

    On accelerators JAX multiplies single precision in fewer bits (TF32, bfloat16) unless it is
    asked for more. In residuals, differences of such products, those bits are all that is left.
    Other libraries do so only where their global switches say so.
    """
    if array_api_compat.is_jax_namespace(cast(Any, xp)):
        return xp.matmul(a, b, precision="highest")
    return xp.matmul(a, b)
