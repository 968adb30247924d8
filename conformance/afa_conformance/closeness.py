"""Errors relative to a scale, and the spacing of each dtype."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

EPS = 2.0**-52
SPACING = {"float64": EPS, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
"""Spacing of a dtype at 1, its ε; EPS is that of double precision."""
MIN_SUBNORMAL = {
    "float64": 2.0**-1074, "float32": 2.0**-149, "float16": 2.0**-24, "bfloat16": 2.0**-133,
}  # fmt: skip
"""Spacing of a dtype at 0."""


def rounding_error(dtype: str, x: Any) -> Any:
    """Return what rounding numbers to a dtype may change each by: three quarters of a spacing."""
    return 0.75 * SPACING[dtype] * np.abs(x) + MIN_SUBNORMAL[dtype]


class Deviation(NamedTuple):
    """The element of two arrays at which they differ most.

    Parameters
    ----------
    error, allowed : float
        Absolute error of that element, NaN if it is not a number, and the largest error allowed.
    message : str
        Of an AssertionError, if the error exceeds what is allowed.
    """

    error: float
    allowed: float
    message: str

    def check(self) -> None:
        """Raise AssertionError if the error exceeds what is allowed."""
        if not self.error <= self.allowed:
            raise AssertionError(self.message)


def compare(
    actual: Any,
    expected: Any,
    tolerance: float,
    *,
    scale: float | None = None,
    rounded: str | None = None,
) -> Deviation | None:
    """Compare two arrays where `expected` is finite; None if no such element exists.

    ``allowed = tolerance × scale``, plus the smallest normal number of the dtype of `actual`. The
    scale is by default the largest finite magnitude of `expected`, or 1 if all of it is zero. If
    `actual` was rounded to the dtype `rounded`, that of each number does not count as an error.

    Raises
    ------
    AssertionError
        If shapes differ, or NaN and infinities of `expected` are not reproduced exactly.
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(actual[~finite], expected[~finite])
    actual, expected = actual[finite], expected[finite]
    if not expected.size:
        return None
    if scale is None:
        scale = float(np.max(np.abs(expected))) or 1.0
    error = np.abs(actual - expected)
    if rounded:
        error = np.maximum(error - rounding_error(rounded, expected), 0.0)
    smallest = np.finfo(actual.dtype).tiny if actual.dtype.kind in "fc" else 0.0
    worst = int(np.argmax(np.nan_to_num(error, nan=np.inf)))
    return Deviation(
        float(error[worst]),
        float(tolerance * scale + smallest),
        f"error {error[worst]:.3g} exceeds {tolerance:.3g} × scale {scale:.3g} "
        f"(element {worst}: {actual[worst]!r}, expected {expected[worst]!r})",
    )


def assert_close(
    actual: Any, expected: Any, tolerance: float, *, scale: float | None = None
) -> None:
    """Raise AssertionError where |actual − expected| exceeds ``tolerance × scale``.

    See `compare` for the default scale. Laws use `Subject.assert_close`, which also records the
    comparison.
    """
    comparison = compare(actual, expected, tolerance, scale=scale)
    if comparison is not None:
        comparison.check()
