"""How close is close: errors relative to a scale, and what a double or a single resolves."""

from __future__ import annotations

from typing import Any

import numpy as np

from afa_conformance.recorder import LEDGER

EPS = 2.0**-52
SPACING = {"float64": EPS, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
"""Spacing of a dtype at 1, its ε; EPS is that of double precision."""


def assert_close(
    actual: Any, expected: Any, tolerance: float, *, scale: float | None = None
) -> None:
    """Raise AssertionError where |actual − expected| exceeds tolerance times scale.

    The scale is by default the largest finite magnitude expected, or 1 if all is zero. NaN and
    infinities must agree exactly. What is subnormal in the dtype of `actual` may be lost.
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    if not expected.size:
        return
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(actual[~finite], expected[~finite])
    actual, expected = actual[finite], expected[finite]
    if scale is None:
        scale = float(np.max(np.abs(expected), initial=0.0)) or 1.0
    error = np.abs(actual - expected)
    least = np.finfo(actual.dtype).tiny if actual.dtype.kind in "fc" else 0.0
    allowed = float(tolerance * scale + least)
    worst = int(np.argmax(np.nan_to_num(error, nan=np.inf))) if error.size else 0
    if error.size:
        LEDGER.record(error[worst], allowed)
    within = bool(np.all(error <= allowed))
    assert within, (
        f"error {error[worst]:.3g} exceeds {tolerance:.3g} × scale {scale:.3g} "
        f"(element {worst}: {actual[worst]!r}, expected {expected[worst]!r})"
    )
