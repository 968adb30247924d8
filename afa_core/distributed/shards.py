"""What a device of a ring holds: its chunks of a sequence, and the problem of its queries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from typing import Any, NamedTuple, TypedDict

from afa_core._array.arrays import (
    Array,
    Namespace,
    Parameter,
    broadcast_shape,
    check_array,
    check_devices,
    device_of,
    wide_integer,
)
from afa_core._array.pairs import Layout, angle, conjugate, phase
from afa_core._checks.arguments import Arguments, check_boolean
from afa_core._checks.problem import Problem, prepare
from afa_core._checks.shapes import check_axis
from afa_core.distributed.ring import Cargo
from afa_core.model.weighting import Weighting
from afa_core.streaming.attention import stream
from afa_core.streaming.engine import Engine
from afa_core.streaming.operands import order_of


class RingOptions(TypedDict, total=False):
    """The keyword arguments of `attention` that rings take, and `key_mask`."""

    weighting: Weighting
    inverse_temperature: Parameter
    query_times: Array | None
    key_times: Array | None
    causal: bool
    anchor: Array | None
    layout: Layout
    key_mask: Array | None
    tile: int | None


class Ring(NamedTuple):
    """What a library knows of a ring."""

    index: Any  # of this device, which may be traced
    devices: int
    greatest: Callable[[Array], Array]  # over all devices, without a derivative


def chunks_of(device: Any, devices: int, *, causal: bool) -> tuple[Any, ...]:
    """Return which chunks of a sequence a device holds, of 2P if causal and else of P."""
    return (device, 2 * devices - 1 - device) if causal else (device,)


def order_of_chunks(devices: int, *, causal: bool) -> list[int]:
    """Return the chunks of all devices one after another."""
    return list(chain(*(chunks_of(each, devices, causal=causal) for each in range(devices))))


def restoring(order: Sequence[int]) -> list[int]:
    """Return the order that undoes one."""
    return sorted(range(len(order)), key=order.__getitem__)


def picked(x: Array, chunks: Sequence[int], count: int, axis: int, *, xp: Namespace) -> Array:
    """Return some of the `count` chunks of an axis, one after another."""
    axis %= x.ndim
    size, before = x.shape[axis] // count, (slice(None),) * axis
    parts = [x[(*before, slice(each * size, (each + 1) * size))] for each in chunks]
    return xp.concat(parts, axis=axis)


def padded(x: Array, multiple: int, axis: int, *, xp: Namespace) -> Array:
    """Repeat the last token until a multiple is reached; a mask hides what is added."""
    axis %= x.ndim
    missing = -x.shape[axis] % multiple
    if not missing:
        return x
    last = x[(*(slice(None),) * axis, slice(-1, None))]
    shape = (*x.shape[:axis], missing, *x.shape[axis + 1 :])
    more = xp.broadcast_to(xp.zeros_like(last) if last.dtype == xp.bool else last, shape)
    return xp.concat([x, more], axis=axis)


def estimated(
    a: Arguments,
    key_mask: Array | None,
    ring: Ring,
    engine: Engine,
    run: Callable[..., Any],
    tile: int | None,
    *,
    precise: bool,
) -> tuple[Array, Any]:
    """Return the mean and the precision of the queries of this device.

    ``run(cargo, seen, operands, fixed, sizes, precise=…, xp=…)`` takes the keys round; operands
    have none.
    """
    p, seen, xp = prepared(a, key_mask, ring)
    dtype, order = p.packed.query.dtype, order_of(p)

    def turned(x: Array, frequency: Parameter) -> Array:
        by = conjugate(phase(angle(frequency, p.key_times), dtype, xp=xp))
        return engine.turn(x, by, p.order, order, xp=xp)

    key = turned(p.packed.key, p.sde.frequency)
    value = turned(p.packed.value, p.value_frequency)
    cargo = Cargo(key, value, p.key_times[..., None])
    asking = p._replace(
        packed=p.packed._replace(key=p.packed.key[..., :0, :], value=p.packed.value[..., :0, :]),
        key_times=p.key_times[..., :0],
    )
    engine = engine._replace(run=partial(run, cargo, seen))
    mean, precision = stream(asking, engine, tile, precise=precise, xp=xp)
    return p.write(mean, xp=xp), precision


def prepared(
    a: Arguments, key_mask: Array | None, ring: Ring
) -> tuple[Problem, Array | None, Namespace]:
    """Prepare the tokens of a device: times since an origin of all, what is hidden zeroed."""
    p, xp = prepare(a)
    queries, keys = a.query.shape[-2], a.key.shape[-2]
    _check_tokens(queries, keys, causal=a.causal)
    if key_mask is not None:
        _check_mask(key_mask, a.key, xp=xp)
    own = chunks_of(ring.index, ring.devices, causal=a.causal)
    device = device_of(a.query)

    def places(tokens: int) -> Array:
        size = tokens // len(own)
        grid = xp.arange(size, dtype=xp.int32, device=device)
        return xp.concat([grid + each * size for each in own], axis=0)

    end = keys * ring.devices
    key_places = places(keys)
    query_places = places(queries) + (keys - queries) * ring.devices
    times = (query_places - (end - 1), key_places - (end - 1))
    if not p.regular:
        times = _since_latest(a, p, key_mask, ring, xp=xp)
    query_times, key_times = (xp.astype(x, p.key_times.dtype) for x in times)
    if key_mask is None:
        return p._replace(query_times=query_times, key_times=key_times, regular=False), None, xp
    first = xp.min(xp.where(key_mask, key_places, end), axis=-1, keepdims=True)
    first = -ring.greatest(-first)  # the first place that is not hidden, on any device
    asking = query_places >= first if a.causal else first < end

    def zeroed(x: Array, kept: Array) -> Array:
        return xp.where(kept[..., None], x, 0.0)

    anchor = p.packed.anchor
    packed = p.packed._replace(
        query=zeroed(p.packed.query, asking),
        key=zeroed(p.packed.key, key_mask),
        value=zeroed(p.packed.value, key_mask),
        anchor=None if anchor is None else zeroed(anchor, asking),
    )
    shapes = {"query, key and value": p.leading, "key_mask": tuple(key_mask.shape[:-1])}
    p = p._replace(
        packed=packed,
        query_times=xp.where(asking, query_times, 0.0),
        key_times=xp.where(key_mask, key_times, 0.0),
        regular=False,
        leading=broadcast_shape(shapes),
    )
    return p, key_mask, xp


def _since_latest(
    a: Arguments, p: Problem, key_mask: Array | None, ring: Ring, *, xp: Namespace
) -> tuple[Array, Array]:
    """Return times since the latest key of all devices, subtracted in the dtype they have."""
    device, wide = device_of(a.query), p.key_times.dtype
    query, key = a.query_times, a.key_times
    if a.query.shape[-2] == a.key.shape[-2]:
        query, key = key if query is None else query, query if key is None else key
    if query is None or key is None:
        missing = "query_times" if query is None else "key_times"
        msg = f"`{missing}` must be given, got None with other numbers of queries and keys."
        raise ValueError(msg)
    times = query, key
    real = [bool(xp.isdtype(x.dtype, "real floating")) for x in times]
    if not all(real):
        exact = wide if any(real) else wide_integer(xp, device)
        times = xp.astype(times[0], exact), xp.astype(times[1], exact)
    query, key = times
    known = xp.isfinite(key)
    if key_mask is not None:
        known = xp.logical_and(known, key_mask)
    lowest = (xp.finfo if any(real) else xp.iinfo)(key.dtype).min
    origin = ring.greatest(xp.max(xp.where(known, key, lowest), axis=-1, keepdims=True))
    return query - origin, key - origin


def _check_tokens(queries: int, keys: int, *, causal: bool) -> None:
    if not (queries and keys):
        msg = (
            f"`query` and `key` must hold a token on every device, got {queries} and {keys}. "
            "Use fewer devices."
        )
        raise ValueError(msg)
    if causal and (queries != keys or queries % 2):
        msg = (
            "`query` and `key` must hold the same two chunks of a causal sequence on every device, "
            f"an even number of tokens, got {queries} and {keys}. Pad the sequence to a multiple "
            "of twice the devices and give device i the chunks i and 2P − 1 − i."
        )
        raise ValueError(msg)


def _check_mask(key_mask: Array, key: Array, *, xp: Namespace) -> None:
    check_array("key_mask", key_mask)
    check_devices(xp, key_mask=key_mask, key=key)
    check_boolean("key_mask", key_mask, xp=xp)
    check_axis("key_mask", key_mask, -1, key.shape[-2], "the tokens of `key`")
