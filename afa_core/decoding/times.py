"""Times of tokens that arrive one after another, relative before they are narrowed."""

from __future__ import annotations

from typing import NamedTuple

from afa_core._array.arrays import Array, DType, Namespace, device_of, wide_integer


class Clock(NamedTuple):
    """The reference time, and the time of the latest visible token since then, (..., 1, 1)."""

    origin: Array  # NaN until a token has told it
    latest: Array  # −∞ before the first visible token


def regular(clock: Clock, count: int, *, xp: Namespace) -> tuple[Array, Clock]:
    """Return times one after another from the latest on, (..., count, 1), and the clock then."""
    latest = xp.where(clock.latest == -xp.inf, -1.0, clock.latest)
    device, dtype = device_of(latest), latest.dtype
    times = latest + xp.arange(1, count + 1, dtype=dtype, device=device)[:, None]
    if not count:
        return times, clock
    origin = xp.where(xp.isnan(clock.origin), 0.0, clock.origin)
    return times, Clock(origin, latest + float(count))


def given(
    clock: Clock, times: Array, visible: Array | None, *, xp: Namespace
) -> tuple[Array, Clock]:
    """Return given times (..., c, 1) since the origin, and the clock after them.

    The origin is the latest of the first visible times, unless it is known.
    """
    wide = clock.origin.dtype
    if not times.shape[-2]:
        return xp.astype(times, wide), clock
    known = xp.isfinite(times)
    known = known if visible is None else xp.logical_and(known, visible)

    def greatest(x: Array) -> Array:
        return xp.max(xp.where(known, x, -xp.inf), axis=-2, keepdims=True)

    first = greatest(xp.astype(times, wide))
    unknown = xp.logical_and(xp.isnan(clock.origin), first > -xp.inf)
    origin = xp.where(unknown, first, clock.origin)
    since = _since(times, xp.where(xp.isnan(origin), 0.0, origin), wide, xp=xp)
    return since, Clock(origin, xp.maximum(clock.latest, greatest(since)))


def _since(times: Array, origin: Array, wide: DType, *, xp: Namespace) -> Array:
    """Return t − t₀: of integers exactly, where they do not fit the widest dtype."""
    if xp.isdtype(times.dtype, "real floating"):
        return xp.astype(times, wide, copy=False) - origin
    integer = wide_integer(xp, device_of(times))
    whole = xp.floor(origin)
    ticks = xp.astype(times, integer) - xp.astype(whole, integer)
    return xp.astype(ticks, wide) - (origin - whole)
