"""The first heads of arrays, (g, …), where not all heads go on."""

from __future__ import annotations

from typing import Any

from afa_core._array.arrays import Array, Namespace, device_of


def leading_heads(x: Any, heads: int) -> Any:
    """Return the first heads of an array, or of every array in nested NamedTuples."""
    if x is None:
        return None
    if isinstance(x, tuple):
        parts = (leading_heads(each, heads) for each in x)
        return type(x)(*parts) if hasattr(x, "_fields") else tuple(parts)
    return x[:heads, ...]


def replace_leading(x: Any, leading: Any, *, xp: Namespace) -> Any:
    """Return an array, or nested NamedTuples of them, with other first heads."""
    if x is None:
        return None
    if isinstance(x, tuple):
        parts = (replace_leading(*both, xp=xp) for both in zip(x, leading, strict=True))
        return type(x)(*parts) if hasattr(x, "_fields") else tuple(parts)
    rest = x[leading.shape[0] :, ...]
    return xp.concat([leading, rest], axis=0) if rest.shape[0] else leading


def add_to_leading(x: Array, y: Array, *, xp: Namespace) -> Array:
    """Return x with y added to its first heads."""
    added: Array = replace_leading(x, x[: y.shape[0], ...] + y, xp=xp)
    return added


def with_heads(x: Array, heads: int, *, xp: Namespace) -> Array:
    """Return an array whose first heads are given and whose others are zero."""
    missing = heads - x.shape[0]
    if not missing:
        return x
    zeros = xp.zeros((missing, *x.shape[1:]), dtype=x.dtype, device=device_of(x))
    return xp.concat([x, zeros], axis=0)
