"""Prefixes of an associative operation: as many steps as the length has bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from afa_core._array.arrays import Array, Namespace

Elements: TypeAlias = tuple[Array, ...]
"""A sequence of elements: arrays with one axis in common, along which the sequence runs."""

Combine: TypeAlias = Callable[[Elements, Elements], Elements]
"""An associative operation: what comes first, then what follows it."""


def prefixes(combine: Combine, elements: Elements, *, axis: int, xp: Namespace) -> Elements:
    """Return a₀, a₀∘a₁, a₀∘a₁∘a₂, … along an axis counted from the end.

    Neighbours are combined, the half as long sequence of pairs is scanned, and the prefixes that
    end between pairs are filled in: O(n) operations in 2 log₂ n steps.

    References
    ----------
    G. E. Blelloch, "Prefix sums and their applications", 1990.
    """
    size = elements[0].shape[axis]
    if size < 2:
        return elements

    def cut(of: Elements, part: slice) -> Elements:
        return tuple(x[(..., part, *(slice(None),) * (-1 - axis))] for x in of)

    pairs = combine(cut(elements, slice(0, size - 1, 2)), cut(elements, slice(1, None, 2)))
    odd = prefixes(combine, pairs, axis=axis, xp=xp)
    even = cut(elements, slice(0, 1))
    if size > 2:
        later = combine(cut(odd, slice(0, (size - 1) // 2)), cut(elements, slice(2, None, 2)))
        even = tuple(xp.concat([x, y], axis=axis) for x, y in zip(even, later, strict=True))
    return tuple(_interleave(x, y, axis, xp=xp) for x, y in zip(even, odd, strict=True))


def suffixes(combine: Combine, elements: Elements, *, axis: int, xp: Namespace) -> Elements:
    """Return the prefixes of the reversed sequence, in order: the last is the last element."""
    reversed_elements = tuple(xp.flip(x, axis=axis) for x in elements)
    found = prefixes(combine, reversed_elements, axis=axis, xp=xp)
    return tuple(xp.flip(x, axis=axis) for x in found)


def previous(start: Array, after: Array, *, axis: int, xp: Namespace) -> Array:
    """Return what stands before each element: the start, then what stands after earlier ones."""
    earlier = (..., slice(None, -1), *(slice(None),) * (-1 - axis))
    return xp.concat([start, after[earlier]], axis=axis)


def running_sums(x: Array, *, axis: int, xp: Namespace) -> Elements:
    """Return cumulative sums as terms, which differences of sums should be formed of one by one.

    There is a single term in double precision. Otherwise there are two, a sum and what its
    rounding lost, so that differences of large sums are as exact as small ones.
    """
    if xp.finfo(x.dtype).bits == 64 and hasattr(xp, "cumulative_sum"):
        return (xp.cumulative_sum(x, axis=axis),)
    return prefixes(_add_with_errors, (x, xp.zeros_like(x)), axis=axis, xp=xp)


def add_sums(one: Elements, two: Elements) -> Elements:
    """Add two sums that are given as terms, as by `running_sums`."""
    return (one[0] + two[0],) if len(one) == 1 else _add_with_errors(one, two)


def _add_with_errors(one: Elements, two: Elements) -> Elements:
    """Add numbers and their errors, with the error of the sum (T. J. Dekker, 1971)."""
    (x, x_error), (y, y_error) = one, two
    total = x + y
    added = total - x
    error = x_error + y_error + ((x - (total - added)) + (y - added))
    corrected = total + error
    return corrected, error - (corrected - total)


def affine(one: Elements, two: Elements) -> Elements:
    """Return x ↦ s₂(s₁x + c₁) + c₂ of two maps (s, c): the second after the first."""
    (slope, constant), (later_slope, later_constant) = one, two
    return slope * later_slope, later_slope * constant + later_constant


def fractional(xp: Namespace) -> Combine:
    """Return the composition of maps x ↦ b + ax/(1 + cx), given as (a, b, c) with none negative.

    With k = 1/(1 + c₂b₁) it is (a₁a₂k², b₂ + a₂b₁k, c₁ + a₁c₂k): nothing cancels, and no
    coefficient overflows where c₂b₁ does.
    """

    def combine(one: Elements, two: Elements) -> Elements:
        (slope, constant, resistance), (later_slope, later_constant, later_resistance) = one, two
        part, unit, total = _saturation(constant, later_resistance, xp=xp)
        return (
            slope * later_slope * (unit / total) ** 2,
            later_constant + later_slope * (part / total),
            resistance + slope * (later_resistance / total) * unit,
        )

    return combine


def fractional_value(element: Elements, x: Array, *, xp: Namespace) -> Array:
    """Return b + ax/(1 + cx) of a map (a, b, c), where cx may overflow."""
    slope, constant, resistance = element
    part, _, total = _saturation(x, resistance, xp=xp)
    return constant + slope * (part / total)


def _saturation(x: Array, resistance: Array, *, xp: Namespace) -> tuple[Array, Array, Array]:
    """Return x and 1 and 1 + cx, divided by x where both x and c exceed 1."""
    large = xp.logical_and(x > 1.0, resistance > 1.0)
    part, unit = xp.where(large, 1.0, x), 1.0 / xp.where(large, x, 1.0)
    return part, unit, resistance * part + unit


def _interleave(even: Array, odd: Array, axis: int, *, xp: Namespace) -> Array:
    """Return even₀, odd₀, even₁, …, where there may be one even more."""
    count = odd.shape[axis]
    rest = (slice(None),) * (-1 - axis)
    paired = xp.stack([even[(..., slice(0, count), *rest)], odd], axis=axis)
    shape = list(odd.shape)
    shape[axis] = 2 * count
    paired = xp.reshape(paired, tuple(shape))
    if even.shape[axis] == count:
        return paired
    return xp.concat([paired, even[(..., slice(count, None), *rest)]], axis=axis)
