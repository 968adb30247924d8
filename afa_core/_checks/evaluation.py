"""How attention is evaluated: the size of its tiles, and the tolerance of early exit (spec §14)."""

from __future__ import annotations

import sys

from afa_core._array.arrays import DType, Namespace, is_count


def checked_tile(tile: int | None) -> int | None:
    """Return `tile`; raise ValueError unless it is a number of tokens or None."""
    if tile is None or is_count(tile):
        return tile
    msg = f"`tile` must be a positive number of tokens or None, got {tile!r}. Leave it out."
    raise ValueError(msg)


def check_tolerance(tolerance: object, *, correlated: bool) -> None:
    """Raise unless `tolerance` is None or, if keys are correlated, a finite number ≥ 0."""
    if tolerance is None:
        return
    remedy = "Pass the share of a row's weight that may be left out, 0 for none of it."
    if not isinstance(tolerance, int | float) or isinstance(tolerance, bool):
        msg = f"`tolerance` must be a number or None, got {type(tolerance).__name__}. {remedy}"
        raise TypeError(msg)
    if not 0.0 <= tolerance <= sys.float_info.max:
        msg = f"`tolerance` must be finite and at least 0, got {tolerance!r}. {remedy}"
        raise ValueError(msg)
    if not correlated:
        msg = (
            f"`tolerance` must be None without `correlated`, got {tolerance!r}: the weight of far "
            "keys that are independent has no bound. Leave it out, or pass correlated=True."
        )
        raise ValueError(msg)


def tolerance_in(dtype: DType, tolerance: float | None, *, xp: Namespace) -> float:
    """Return the tolerance of a computation in a dtype, by default that of its rounding."""
    return float(xp.finfo(dtype).eps) if tolerance is None else float(tolerance)
