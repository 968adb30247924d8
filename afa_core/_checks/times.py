"""Times: only their differences matter, so they are made relative before they are narrowed."""

from __future__ import annotations

from afa_core._array.arrays import Array, Device, DType, Namespace, device_of, wide_integer


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
    """Fill in the times left out: places in the sequence, which queries end together with keys.

    Where both are, they are counted from the last token, as `relative_times` would.

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
    query_seen: Array | None,
    key_seen: Array | None,
    *,
    dtype: DType,
    xp: Namespace,
) -> tuple[Array, Array]:
    """Return times since the latest visible key, subtracted before they are cast to `dtype`.

    Tokens outside every visible pair get time 0, whatever their time was; a time that is not
    finite spoils the pairs of its own token alone.
    """
    real = [bool(xp.isdtype(x.dtype, "real floating")) for x in (query_times, key_times)]
    if not all(real):
        exact = dtype if any(real) else wide_integer(xp, device_of(key_times))
        query_times, key_times = xp.astype(query_times, exact), xp.astype(key_times, exact)
    known = xp.isfinite(key_times)
    if key_seen is not None:
        known = xp.logical_and(known, key_seen)
    info = xp.finfo if any(real) else xp.iinfo
    lowest = info(key_times.dtype).min
    origin = xp.max(xp.where(known, key_times, lowest), axis=-1, keepdims=True)
    query_times = xp.astype(query_times - origin, dtype)
    key_times = xp.astype(key_times - origin, dtype)
    if query_seen is not None and key_seen is not None:
        query_times = xp.where(query_seen, query_times, 0.0)
        key_times = xp.where(key_seen, key_times, 0.0)
    return query_times, key_times
