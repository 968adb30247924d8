"""Checks of values, made on request only: they read the arrays, so they cannot be traced."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, SupportsFloat, cast

from afa_core._array.arrays import (
    Parameter,
    broadcast_shape,
    check_parameter,
    is_number,
    namespace,
    shape_of,
)


def require_finite(**fields: Parameter) -> None:
    """Raise ValueError naming the first field with a value that is not finite."""
    for name, field in fields.items():
        for value in values(name, field):
            if not math.isfinite(value):
                msg = f"`{name}` must be finite, got {value:g}."
                raise ValueError(msg)


def require_nonnegative(**fields: Parameter) -> None:
    """Raise ValueError naming the first field with a value that is negative or not finite."""
    for name, field in fields.items():
        for value in values(name, field):
            if not (math.isfinite(value) and value >= 0):
                msg = f"`{name}` must be finite and ≥ 0, got {value:g}."
                raise ValueError(msg)


def require_positive(**fields: Parameter) -> None:
    """Raise ValueError naming the first field with a value that is not positive or not finite."""
    for name, field in fields.items():
        for value in values(name, field):
            if not (math.isfinite(value) and value > 0):
                msg = f"`{name}` must be finite and > 0, got {value:g}."
                raise ValueError(msg)


def require_some_positive(**fields: Parameter) -> None:
    """Raise ValueError if the named fields, all non-negative, are zero in the same place."""
    names = " + ".join(f"`{name}`" for name in fields)
    if not all(is_number(x) for x in fields.values()):
        namespace(**fields)
    broadcast_shape({name: shape_of(x) for name, x in fields.items()}, "noises")
    total: Any = 0.0
    for x in fields.values():
        total = total + x
    if any(value == 0 for value in values(names, total)):
        msg = f"{names} must be > 0, got 0. Give one of them a positive value."
        raise ValueError(msg)


def values(name: str, field: Parameter) -> Iterator[float]:
    """Yield the values of a parameter as Python numbers."""
    check_parameter(name, field)
    if is_number(field):
        yield float(cast(float, field))
        return
    # PyTorch warns when a number is read from a tensor that carries a gradient.
    constant = getattr(field, "detach", lambda: field)()
    flat = namespace(**{name: constant}).reshape(constant, (-1,))
    for index in range(flat.shape[0]):
        yield float(cast(SupportsFloat, flat[index]))
