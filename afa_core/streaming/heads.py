"""The first heads of arrays, (g, …), where not all heads go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from afa_core._array.arrays import Array, Namespace, device_of


def map_arrays(function: Callable[..., Array], x: Any, *others: Any) -> Any:
    """Apply a function to arrays, or to those in the same places of nested tuples; None stays."""
    if x is None:
        return None
    if isinstance(x, tuple):
        parts = (map_arrays(function, *each) for each in zip(x, *others, strict=True))
        return type(x)(*parts) if hasattr(x, "_fields") else tuple(parts)
    return function(x, *others)


def leading_heads(x: Any, heads: int) -> Any:
    """Return the first heads of an array, or of every array in nested tuples."""
    return map_arrays(lambda each: each[:heads, ...], x)


def trailing_heads(x: Any, heads: int) -> Any:
    """Return the others."""
    return map_arrays(lambda each: each[heads:, ...], x)


def joined_heads(parts: Sequence[Any], *, xp: Namespace) -> Any:
    """Return the heads of all parts, one after another."""
    if len(parts) == 1:
        return parts[0]
    return map_arrays(lambda *each: xp.concat(list(each), axis=0), *parts)


def replace_leading(x: Array, leading: Array, *, xp: Namespace) -> Array:
    """Return an array with other first heads."""
    rest = x[leading.shape[0] :, ...]
    return xp.concat([leading, rest], axis=0) if rest.shape[0] else leading


def add_to_leading(x: Array, y: Array, *, xp: Namespace) -> Array:
    """Return x with y added to its first heads."""
    return replace_leading(x, x[: y.shape[0], ...] + y, xp=xp)


def with_heads(x: Array, heads: int, *, xp: Namespace) -> Array:
    """Return an array whose first heads are given and whose others are zero."""
    missing = heads - x.shape[0]
    if not missing:
        return x
    zeros = xp.zeros((missing, *x.shape[1:]), dtype=x.dtype, device=device_of(x))
    return xp.concat([x, zeros], axis=0)
