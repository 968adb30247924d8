"""Times: only their differences matter, so they are made relative before they are narrowed."""

from __future__ import annotations

from collections.abc import Callable

from afa_core._array.arrays import (
    Array,
    Device,
    DType,
    Namespace,
    device_of,
    dtype_name,
    wide_integer,
)


def check_times(name: str, times: Array, *, xp: Namespace) -> None:
    """Raise TypeError unless times are real floating or signed integers."""
    if not xp.isdtype(times.dtype, ("real floating", "signed integer")):
        msg = (
            f"`{name}` must have a real floating or signed integer dtype, "
            f"got {dtype_name(times.dtype)}. Cast it first."
        )
        raise TypeError(msg)


def check_integer(name: str, time: object, *, xp: Namespace, device: Device) -> None:
    """Raise ValueError if a time is a Python integer that the widest integer dtype has not."""
    if not isinstance(time, int):
        return
    dtype = wide_integer(xp, device)
    if abs(time) > xp.iinfo(dtype).max:
        msg = (
            f"`{name}` must be in the range of {dtype_name(dtype)}, the widest integer dtype, got "
            f"{time}. Subtract the first time, or pass a float."
        )
        raise ValueError(msg)


def complete_times(
    query_times: Array | None,
    key_times: Array | None,
    queries: int,
    keys: int,
    *,
    dtype: DType,
    device: Device,
    xp: Namespace,
) -> tuple[Array, Array]:
    """Fill in omitted times by places in the sequence, where the last query is at the last key.

    Where both are omitted, they are counted from the last token, as by `relative_times`.

    Raises
    ------
    ValueError
        If one of the two is given and the other does not follow from it.
    """
    if query_times is None and key_times is None:
        key_times = xp.arange(1 - keys, 1, dtype=dtype, device=device)
        query_times = xp.arange(1 - queries, 1, dtype=dtype, device=device)
    elif key_times is None and queries == keys:
        key_times = query_times
    elif query_times is None and key_times is not None and queries <= keys:
        query_times = key_times[..., keys - queries :]
    if query_times is None or key_times is None:
        missing = "key_times" if key_times is None else "query_times"
        msg = f"`{missing}` must be given, got None with {queries} queries and {keys} keys."
        raise ValueError(msg)
    return query_times, key_times


def relative_times(
    query_times: Array,
    key_times: Array,
    query_visible: Array | None,
    key_visible: Array | None,
    *,
    dtype: DType,
    xp: Namespace,
) -> tuple[Array, Array]:
    """Return times since the latest visible key, subtracted before they are cast to `dtype`.

    Tokens in no visible pair get time 0, whatever their time was; a time that is not finite makes
    NaN of the pairs of its own token alone.
    """
    query_times, key_times = since_latest_key(
        query_times, key_times, key_visible, dtype=dtype, xp=xp
    )
    if query_visible is not None:
        query_times = xp.where(query_visible, query_times, 0.0)
    if key_visible is not None:
        key_times = xp.where(key_visible, key_times, 0.0)
    return query_times, key_times


def since_latest_key(
    query_times: Array,
    key_times: Array,
    key_visible: Array | None,
    *,
    dtype: DType,
    xp: Namespace,
    over_devices: Callable[[Array], Array] | None = None,
) -> tuple[Array, Array]:
    """Return times since the latest visible key with a finite time.

    They are subtracted in the widest dtype, integers in one that represents them exactly, and then
    cast to `dtype`. Where the keys are distributed, `over_devices` returns the maximum of an array
    over the devices.
    """
    real = [bool(xp.isdtype(x.dtype, "real floating")) for x in (query_times, key_times)]
    exact = dtype if any(real) else wide_integer(xp, device_of(key_times))
    if all(real):
        exact = xp.result_type(query_times.dtype, key_times.dtype, dtype)
    info = xp.finfo if any(real) else xp.iinfo
    lowest = info(key_times.dtype if all(real) else exact).min
    query_times, key_times = (xp.astype(x, exact, copy=False) for x in (query_times, key_times))
    candidate = xp.isfinite(key_times)
    if key_visible is not None:
        candidate = xp.logical_and(candidate, key_visible)
    latest = xp.max(xp.where(candidate, key_times, lowest), axis=-1, keepdims=True)
    latest = latest if over_devices is None else over_devices(latest)
    return xp.astype(query_times - latest, dtype), xp.astype(key_times - latest, dtype)


def within_range(times: Array, dtype: DType, *, xp: Namespace) -> Array:
    """Return times whose differences, times any rate, have a finite value in a dtype.

    Farther ones are moved to half the root of its largest number, 2⁶³ in single precision. Times
    that are not finite stay.
    """
    far = 0.5 * float(xp.finfo(dtype).max) ** 0.5
    return xp.where(xp.isfinite(times), xp.clip(times, -far, far), times)
