"""Comparisons of the results of attention: means, and arrays that depend on the form."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from afa_conformance.runner import PerForm, parts
from afa_conformance.subject import Subject


def assert_per_form(
    found: PerForm,
    expected: PerForm,
    tolerance: float,
    subject: Subject,
    *,
    scale: float | None = None,
    rounded: str | None = None,
) -> None:
    """Assert that precisions or weights are those expected, as by `Subject.assert_close`."""
    for got, each in zip(parts(found), parts(expected), strict=True):
        subject.assert_close(got, each, tolerance, scale=scale, rounded=rounded)


def assert_estimate(
    found: tuple[NDArray[Any], PerForm],
    expected: tuple[NDArray[Any], PerForm],
    tolerance: float,
    subject: Subject,
) -> None:
    """Assert that mean and precision are those expected; the precision only if one was found."""
    mean, precision = found
    subject.assert_close(mean, expected[0], tolerance)
    if precision is not None:
        assert_per_form(precision, expected[1], tolerance, subject)
