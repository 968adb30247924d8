"""Checks of boolean masks."""

from __future__ import annotations

from afa_core._array.arrays import Array, Namespace, check_devices, dtype_name, namespace
from afa_core._checks.shapes import check_axis


def check_boolean(name: str, mask: Array, *, true: str = "attends", xp: Namespace) -> None:
    """Raise TypeError unless a mask is boolean; `true` is what True means, for the message."""
    if not xp.isdtype(mask.dtype, "bool"):
        msg = (
            f"`{name}` must be boolean (True {true}), got {dtype_name(mask.dtype)}. "
            "Compare it with something first."
        )
        raise TypeError(msg)


def check_trailing_axes(name: str, mask: Array, sizes: tuple[int, int], axes: str) -> None:
    """Raise ValueError unless the last two axes of a mask broadcast to the given sizes."""
    pairs = zip(reversed(mask.shape), reversed(sizes), strict=False)
    if any(own not in (1, size) for own, size in pairs):
        msg = (
            f"`{name}` must broadcast to (..., {sizes[0]}, {sizes[1]}), {axes}, "
            f"got {tuple(mask.shape)}. Give axes that do not vary length 1."
        )
        raise ValueError(msg)


def check_key_mask(name: str, mask: Array, key: Array, *, xp: Namespace) -> None:
    """Check a mask of keys, (..., m): a boolean array beside `key`, with an entry a token.

    Raises
    ------
    TypeError
        If it is no array of the library of `key`, or not boolean.
    ValueError
        If it is on another device than `key`, or of another length.
    """
    namespace(key=key, **{name: mask})
    check_devices(xp, **{name: mask, "key": key})
    check_boolean(name, mask, xp=xp)
    check_axis(name, mask, -1, key.shape[-2], "the tokens of `key`")
