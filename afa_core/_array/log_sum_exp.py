"""Sums of exponentials relative to their largest exponent, and the merge of two (spec §9)."""

from __future__ import annotations

from afa_core._array.arrays import Array, Namespace
from afa_core._array.scan import Elements


def finite_peak(peak: Array, *, xp: Namespace) -> Array:
    """Return what to subtract from logits: the peak, or 0 where it is −∞ for lack of any key."""
    return xp.where(peak == -xp.inf, 0.0, peak)


def merge_sums(one: Elements, two: Elements, *, xp: Namespace) -> Elements:
    """Return the peak and the sums over the union of two disjoint sets of keys.

    Both sets are given as (peak, s₁, s₂, …), with sums s = Σ_j exp(L_j − peak) c_j of logits L;
    for the normaliser Z, c = 1. The peak of a set without keys is −∞ and its sums are 0.
    """
    peak = xp.maximum(one[0], two[0])
    shift = finite_peak(peak, xp=xp)
    scale, other_scale = xp.exp(one[0] - shift), xp.exp(two[0] - shift)
    pairs = zip(one[1:], two[1:], strict=True)
    return peak, *(scale * x + other_scale * y for x, y in pairs)
