"""Times of new tokens since a reference time, subtracted before they are cast (spec §8)."""

from __future__ import annotations

from typing import NamedTuple

from afa_core._array.arrays import Array, DType, Namespace, device_of, wide_integer, with_rank


class ReferenceTime(NamedTuple):
    """The reference time of a cache, and the time of its latest visible token since then."""

    origin: Array  # (..., 1, 1), NaN before the first visible token
    latest: Array  # (..., 1, 1), −∞ before the first visible token


def regular_times(
    reference: ReferenceTime, count: int, *, xp: Namespace
) -> tuple[Array, ReferenceTime]:
    """Return the times latest + 1, latest + 2, …, (..., count, 1), and the updated reference."""
    latest = xp.where(reference.latest == -xp.inf, -1.0, reference.latest)
    device, dtype = device_of(latest), latest.dtype
    ahead = xp.arange(1, count + 1, dtype=dtype, device=device)[:, None]
    times = latest + with_rank(ahead, latest.ndim)
    if not count:
        return times, reference
    origin = xp.where(xp.isnan(reference.origin), 0.0, reference.origin)
    return times, ReferenceTime(origin, latest + float(count))


def given_times(
    reference: ReferenceTime, times: Array, visible: Array | None, *, xp: Namespace
) -> tuple[Array, ReferenceTime]:
    """Return given times (..., c, 1) since the reference time, and the updated reference.

    A reference time that is not set becomes the latest of these times that is visible and finite.
    """
    wide = reference.origin.dtype
    if not times.shape[-2]:
        return xp.astype(times, wide), reference
    counted = xp.isfinite(times)
    counted = counted if visible is None else xp.logical_and(counted, visible)

    def maximum(x: Array) -> Array:
        return xp.max(xp.where(counted, x, -xp.inf), axis=-2, keepdims=True)

    first = maximum(xp.astype(times, wide))
    unset = xp.logical_and(xp.isnan(reference.origin), first > -xp.inf)
    origin = xp.where(unset, first, reference.origin)
    since = _since(times, xp.where(xp.isnan(origin), 0.0, origin), wide, xp=xp)
    return since, ReferenceTime(origin, xp.maximum(reference.latest, maximum(since)))


def _since(times: Array, origin: Array, wide: DType, *, xp: Namespace) -> Array:
    """Return t − t₀, exactly for integers that the widest real dtype does not represent."""
    if xp.isdtype(times.dtype, "real floating"):
        return xp.astype(times, wide, copy=False) - origin
    integer = wide_integer(xp, device_of(times))
    whole = xp.floor(origin)
    ticks = xp.astype(times, integer) - xp.astype(whole, integer)
    return xp.astype(ticks, wide) - (origin - whole)
