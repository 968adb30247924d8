"""Checks that arrays of modes share: their kind, their width, their axes, their leading shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast, get_args

from afa_core._array.arrays import Array, Namespace, Parameter, dtype_name, shape_of
from afa_core._array.pairs import Layout


def check_layout(layout: object, accepted: tuple[str, ...] = get_args(Layout)) -> None:
    """Raise ValueError unless `layout` is one of the accepted names."""
    if not (isinstance(layout, str) and layout in accepted):
        names = ", ".join(repr(name) for name in accepted)
        msg = f"`layout` must be one of {names}, got {layout!r}."
        raise ValueError(msg)


def check_floating(xp: Namespace, name: str, x: Array) -> str:
    """Return ``"complex"`` or ``"real"`` for a floating array, else raise TypeError."""
    if xp.isdtype(x.dtype, "complex floating"):
        return "complex"
    if xp.isdtype(x.dtype, "real floating"):
        return "real"
    msg = (
        f"`{name}` must have a real or complex floating dtype, got {dtype_name(x.dtype)}. "
        "Cast it first."
    )
    raise TypeError(msg)


def check_same_kind(arrays: Mapping[str, Array], *, xp: Namespace) -> None:
    """Raise TypeError unless all arrays are complex or all are real floating."""
    first = next(iter(arrays))
    kind = check_floating(xp, first, arrays[first])
    for name, x in arrays.items():
        if check_floating(xp, name, x) != kind:
            msg = (
                f"`{name}` must be {kind} like `{first}`, got {dtype_name(x.dtype)}. Pass complex "
                "arrays for all of them, or real pairs for all of them."
            )
            raise TypeError(msg)


def check_width(name: str, x: Array, *, paired: bool, rank: int = 2) -> None:
    """Raise ValueError unless `x` is (..., tokens, channels), its channels even if paired."""
    if x.ndim < rank or x.shape[-1] == 0:
        axes = "tokens, channels ≥ 1" if rank == 2 else "channels ≥ 1"
        msg = (
            f"`{name}` must have shape (..., {axes}), got {tuple(x.shape)}. Add the missing axes, "
            "and at least one channel."
        )
        raise ValueError(msg)
    if paired and x.shape[-1] % 2:
        msg = (
            f"`{name}` must have an even last axis, (re, im) pairs of complex modes, got shape "
            f"{tuple(x.shape)}. Pass a complex array, or add the imaginary parts."
        )
        raise ValueError(msg)


def check_axis(name: str, x: Array, axis: int, size: int, reason: str) -> None:
    """Raise ValueError unless axis `axis`, counted from the end, has the expected size."""
    if x.ndim < -axis or x.shape[axis] != size:
        trailing = "".join(f", {length}" for length in x.shape[x.ndim + axis + 1 :])
        msg = (
            f"`{name}` must have shape (..., {size}{trailing}) to match {reason}, "
            f"got {tuple(x.shape)}."
        )
        raise ValueError(msg)


def parameter_shapes(
    parameters: Mapping[str, Parameter], modes: Mapping[str, tuple[int, str]]
) -> dict[str, tuple[int, ...]]:
    """Return the leading shape of each array parameter, after checking its axis of modes.

    `modes` says which parameters have one, how long it is, and which array it comes from.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for name, x in parameters.items():
        shape = shape_of(x)
        if shape and name in modes:
            size, of = modes[name]
            check_axis(name, cast(Array, x), -1, size, f"the modes of `{of}`")
            shape = shape[:-1]
        shapes[name] = shape
    return shapes
