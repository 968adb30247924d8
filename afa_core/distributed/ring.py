"""A ring of devices: each keeps its queries, and keys and values go round (spec §9).

What a device has seen of the keys is a `Result`, and two of these merge as tiles do. Back goes a
second ring, in which keys travel with the derivatives that devices add to them; every block is
evaluated again and weighed by what all keys together came to.

A causal sequence of 2P chunks gives chunks i and 2P−1−i to device i. Of the keys of an earlier
device it sees the first chunk from both of its own, of those of a later one both chunks from its
second: at every step two pairs of chunks, all visible, whoever meets whom.
"""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

from afa_core._array.arrays import Array, Namespace, device_of
from afa_core._array.masks import Visibility
from afa_core.streaming.forward.sums import Result
from afa_core.streaming.operands import KEYS, QUERIES, Fixed, Operands
from afa_core.streaming.operations import cut


class Cargo(NamedTuple):
    """What travels: keys of one device, turned back to time zero, before heads are broadcast."""

    key: Array  # (..., m, 2d)
    value: Array  # (..., m, 2d_v)
    times: Array  # (..., m, 1), since an origin that all devices share


class Block(NamedTuple):
    """Queries of a device against some of the keys that are with it."""

    queries: range
    keys: range
    causal: bool


class Traffic(NamedTuple):
    """Bytes that a device sends."""

    forward: int
    backward: int


def blocks_of(queries: int, keys: int, *, causal: bool) -> tuple[Block, Block, Block]:
    """Return what a device evaluates of its own keys, of an earlier device's, of a later one's."""
    if not causal:
        every = Block(range(queries), range(keys), causal=False)
        return every, every, every
    both, first, second = range(keys), range(keys // 2), range(keys // 2, keys)
    return Block(both, both, causal=True), Block(both, first, False), Block(second, both, False)


def traffic(
    devices: int,
    key: tuple[int, ...],
    value: tuple[int, ...],
    itemsize: int,
    *,
    times: tuple[int, ...] = (0,),
    time_size: int = 8,
    key_mask: tuple[int, ...] = (0,),
) -> Traffic:
    """Return the bytes that each device of a ring sends, from the shapes of its own shards.

    Forward keys are passed on P − 1 times; back again, with their derivatives, and these once more
    to come home. Without times it is what ring attention with dot products sends.

    Parameters
    ----------
    devices : int
        P, how many there are.
    key, value : tuple
        Shapes (..., m, 2d) and (..., m, 2d_v) of one device's keys and values; keys have the
        leading axes of times and frequencies too.
    itemsize, time_size : int
        Bytes of a number of theirs, and of a time.
    times, key_mask : tuple
        Shapes (..., m).

    Returns
    -------
    Traffic
        Bytes forward and backward; the few numbers of which devices agree beforehand do not count.

    References
    ----------
    Spec §9.
    """
    tokens = (prod(key) + prod(value)) * itemsize + prod(times) * time_size
    whole = tokens + prod(key_mask)
    return Traffic((devices - 1) * whole, (devices - 1) * whole + devices * tokens)


def problem_of(
    block: Block, o: Operands, cargo: Cargo, seen: Array | None, fixed: Fixed, *, xp: Namespace
) -> tuple[Operands, Fixed]:
    """Return the operands of a block, heads broadcast, and what is known of it."""

    def expanded(x: Array) -> Array:
        x = x[..., block.keys.start : block.keys.stop, :]
        core = x.shape[-2:]
        return xp.reshape(xp.broadcast_to(x, (*fixed.leading, *core)), (-1, *core))

    own = o._replace(
        **{name: cut(getattr(o, name), block.queries) for name in QUERIES},
        **dict(zip(KEYS, map(expanded, cargo), strict=True)),
    )
    mask = None if seen is None else seen[..., None, block.keys.start : block.keys.stop]
    visibility = Visibility(len(block.queries), len(block.keys), block.causal, mask)
    return own, fixed._replace(visibility=visibility)


def merge(a: Result, b: Result, fixed: Fixed, *, xp: Namespace) -> Result:
    """Return what two sets of keys came to together.

    The peak becomes the greater log Z: a peak may be a unit, far from what the weights sum to.
    """

    def empty(total: Any) -> Any:
        return total == 0.0  # NaN is not

    def log_total(x: Result) -> Array:
        safe = xp.where(empty(x.total), 1.0, x.total)
        return xp.where(empty(x.total), -xp.inf, x.peak + xp.log(safe))

    peak = xp.maximum(log_total(a), log_total(b))
    common = xp.where(peak == -xp.inf, 0.0, peak)

    def below(x: Result) -> Array:
        return xp.where(empty(x.total), 0.0, x.total * xp.exp(x.peak - common))

    one, other = below(a), below(b)
    total = one + other
    share = 1.0 / xp.where(empty(total), 1.0, total)

    def weighed(x: Result, weight: Array) -> Array:
        return x.mean * _per_channel(weight * share, x.mean.shape[-1], fixed, xp=xp)

    mean = weighed(a, one) + weighed(b, other)
    return Result(mean, a.precision + b.precision, peak, total)


def _per_channel(x: Array, width: int, fixed: Fixed, *, xp: Namespace) -> Array:
    """Repeat numbers of sets (g, n, s) for the channels of their estimates, (g, n, width)."""
    heads, tokens, sets = x.shape
    groups = sets // fixed.estimates
    x = xp.reshape(x, (heads, tokens, fixed.estimates, 1, groups, 1))
    shape = (heads, tokens, fixed.estimates, 2, groups, width // (2 * sets))
    return xp.reshape(xp.broadcast_to(x, shape), (heads, tokens, width))


def included(result: Result, part: Result, block: Block, fixed: Fixed, *, xp: Namespace) -> Result:
    """Merge a block into the result of all queries, the last of which are its own."""
    start = block.queries.start
    merged = merge(Result(*(x[:, start:, :] for x in result)), part, fixed, xp=xp)
    pairs = zip(result, merged, strict=True)
    return Result(*(xp.concat([x[:, :start, :], y], axis=1) for x, y in pairs))


def derivatives(
    by: Operands, block: Block, o: Operands, cargo: Cargo, fixed: Fixed, *, xp: Namespace
) -> tuple[Operands, Cargo]:
    """Return the derivatives of a block as those in all operands but keys, and in the cargo."""

    def filled(x: Array, tokens: range, axis: int, size: int) -> Array:
        shape, device = list(x.shape), device_of(x)
        parts = []
        for missing in (tokens.start, size - tokens.stop):
            shape[axis] = missing
            parts.append(xp.zeros(tuple(shape), dtype=x.dtype, device=device))
        return xp.concat([parts[0], x, parts[1]], axis=axis)

    def collected(x: Array, like: Array) -> Array:
        x = xp.reshape(x, (*fixed.leading, *x.shape[1:]))
        own = (1,) * (x.ndim - like.ndim) + tuple(like.shape)
        for axis, size in enumerate(own[:-2]):
            x = xp.sum(x, axis=axis, keepdims=True) if size == 1 else x
        x = xp.reshape(x, (*like.shape[:-2], *x.shape[-2:]))
        return filled(x, block.keys, x.ndim - 2, like.shape[-2])

    rows = {
        name: filled(getattr(by, name), block.queries, 1, getattr(o, name).shape[1])
        for name in QUERIES
    }
    none = {name: xp.zeros_like(getattr(o, name)) for name in KEYS}
    keys = (collected(getattr(by, name), x) for name, x in zip(KEYS, cargo, strict=True))
    return by._replace(**rows, **none), Cargo(*keys)
