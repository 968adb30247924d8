"""Checks of values, made on request only: they read the arrays, so they cannot be traced."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Iterator
from typing import SupportsFloat, cast

from afa_core.arrays import Array, Parameter, is_number, namespace


def require_finite(**fields: Parameter) -> None:
    """Raise ValueError naming the first field with a value that is not finite."""
    for name, field in fields.items():
        for value in values(field):
            if not math.isfinite(value):
                msg = f"`{name}` must be finite, got {value:g}."
                raise ValueError(msg)


def require_nonnegative(**fields: Parameter) -> None:
    """Raise ValueError naming the first field with a value that is negative or not finite."""
    for name, field in fields.items():
        for value in values(field):
            if not (math.isfinite(value) and value >= 0):
                msg = f"`{name}` must be finite and ≥ 0, got {value:g}."
                raise ValueError(msg)


def require_positive(**fields: Parameter) -> None:
    """Raise ValueError naming the first field with a value that is not positive or not finite."""
    for name, field in fields.items():
        for value in values(field):
            if not (math.isfinite(value) and value > 0):
                msg = f"`{name}` must be finite and > 0, got {value:g}."
                raise ValueError(msg)


def require_some_positive(**fields: Parameter) -> None:
    """Raise ValueError if the named fields, all non-negative, are zero in the same place."""
    total = functools.reduce(operator.add, fields.values())
    if any(value == 0 for value in values(total)):
        names = " + ".join(f"`{name}`" for name in fields)
        msg = f"{names} must be > 0, got 0. Give one of them a positive value."
        raise ValueError(msg)


def values(field: Parameter) -> Iterator[float]:
    """Yield the values of a parameter as Python numbers."""
    if is_number(field):
        yield float(cast(float, field))
        return
    flat = namespace(field=field).reshape(cast(Array, field), (-1,))
    for index in range(flat.shape[0]):
        yield float(cast(SupportsFloat, flat[index]))
