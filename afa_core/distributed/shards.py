"""Attention on one device of a ring: the problem of its shard, with arguments common to all."""

from __future__ import annotations

from functools import partial
from math import prod
from typing import Any, Protocol, TypedDict

from afa_core._array.arrays import (
    Array,
    DType,
    Namespace,
    Parameter,
    broadcast_shape,
    device_of,
    with_rank,
)
from afa_core._array.pairs import Layout, angle, conjugate, phase
from afa_core._checks.arguments import Arguments, check
from afa_core._checks.masks import check_key_mask
from afa_core._checks.problem import Problem, prepare, visible_variance
from afa_core._checks.times import complete_times, since_latest_key, within_range
from afa_core.distributed.chunks import token_places
from afa_core.distributed.influence import shard_influence
from afa_core.distributed.ring import KVShard, Ring
from afa_core.model.sde import DiagonalSDE, RadialTangential
from afa_core.model.weighting import Weighting
from afa_core.streaming.attention import stream
from afa_core.streaming.blocks import Sizes
from afa_core.streaming.engine import Engine
from afa_core.streaming.operands import Operands, StaticProblem, channel_order


class RingOptions(TypedDict, total=False):
    """The keyword arguments of `attention` that ring attention takes, and `key_mask`."""

    weighting: Weighting
    inverse_temperature: Parameter
    query_times: Array | None
    key_times: Array | None
    causal: bool
    anchor: Array | None
    layout: Layout
    correlated: bool
    query_variance: Array | RadialTangential | None
    key_mask: Array | None
    tile: int | None


class RunRing(Protocol):
    """The evaluation of ring attention by a library."""

    def __call__(
        self,
        shard: KVShard,
        key_mask: Array | None,
        operands: Operands,
        static: StaticProblem,
        sizes: Sizes,
        /,
        *,
        return_precision: bool,
        xp: Namespace,
    ) -> tuple[Array, Array]:
        """Return the mean and the precision as `Engine.run` does; `operands` hold no keys."""
        ...


def estimate_shard(
    arguments: Arguments,
    key_mask: Array | None,
    ring: Ring,
    engine: Engine,
    run_ring: RunRing,
    tile: int | None,
    *,
    return_precision: bool,
) -> tuple[Array, Any]:
    """Return the mean and the precision of the queries of this device over all keys."""
    problem, xp = prepare_shard(arguments, key_mask, ring)
    dtype, order = problem.packed.query.dtype, channel_order(problem)

    def unrotated(x: Array, frequency: Parameter) -> Array:
        phases = phase(angle(frequency, problem.key_times), dtype, xp=xp)
        return engine.rotate(x, conjugate(phases), problem.order, order, xp=xp)

    packed = problem.packed
    shard = KVShard(
        unrotated(packed.key, problem.sde.frequency),
        unrotated(packed.value, problem.value_frequency),
        problem.key_times[..., None],
    )
    influence = None
    if problem.correlated:
        visible = None if key_mask is None else with_rank(key_mask, len(problem.leading) + 1)
        influence = shard_influence(problem, visible, ring, xp=xp)
        level = influence.key_level
        terms = prod(level.shape[-2:])
        shard = shard._replace(level=xp.reshape(level, (*level.shape[:-2], terms)))
        influence = influence._replace(key_level=level[..., :0, :, :])
    queries_only = problem._replace(
        packed=packed._replace(key=packed.key[..., :0, :], value=packed.value[..., :0, :]),
        key_times=problem.key_times[..., :0],
    )
    engine = engine._replace(run=partial(run_ring, shard, key_mask))
    mean, precision = stream(
        queries_only,
        engine,
        tile,
        influence=influence,
        return_precision=return_precision,
        xp=xp,
    )
    return problem.write(mean, xp=xp), precision


def prepare_shard(
    arguments: Arguments, key_mask: Array | None, ring: Ring
) -> tuple[Problem, Namespace]:
    """Check the arguments of a device; return its problem, with times since a common origin.

    Tokens outside every visible pair, on any device, are zeroed.
    """
    xp, leading = check(arguments)
    queries, keys = arguments.query.shape[-2], arguments.key.shape[-2]
    _check_tokens(queries, keys, causal=arguments.causal)
    if key_mask is not None:
        check_key_mask("key_mask", key_mask, arguments.key, xp=xp)
        key_mask = with_rank(key_mask, len(leading) + 1)
        arguments = arguments._replace(query=with_rank(arguments.query, key_mask.ndim + 1))
    problem, xp = prepare(arguments)
    dtype = problem.key_times.dtype
    rank = len(problem.leading) + 1
    positions = _positions(arguments, ring, rank, xp=xp)
    if problem.regular:
        end = keys * ring.devices
        query_times, key_times = (xp.astype(x - (end - 1), dtype) for x in positions)
    else:
        times = _relative_times(arguments, key_mask, ring, rank, dtype=dtype, xp=xp)
        narrow = problem.packed.query.dtype
        query_times, key_times = (within_range(x, narrow, xp=xp) for x in times)
    problem = problem._replace(  # each part of a row is evaluated as a whole
        query_times=query_times, key_times=key_times, regular=False, tolerance=0.0
    )
    if key_mask is not None:
        problem = _zero_hidden(problem, key_mask, *positions, ring, xp=xp)
    return problem, xp


def _positions(
    arguments: Arguments, ring: Ring, rank: int, *, xp: Namespace
) -> tuple[Array, Array]:
    """Return the positions of queries and keys in the whole sequence; both end together.

    They have so many axes.
    """
    queries, keys = arguments.query.shape[-2], arguments.key.shape[-2]
    causal, device = arguments.causal, device_of(arguments.query)

    def positions(tokens: int) -> Array:
        place = ring.index, ring.devices
        places = token_places(tokens, *place, causal=causal, device=device, xp=xp)
        return with_rank(places, rank)

    return positions(queries) + (keys - queries) * ring.devices, positions(keys)


def _relative_times(
    arguments: Arguments,
    key_mask: Array | None,
    ring: Ring,
    rank: int,
    *,
    dtype: DType,
    xp: Namespace,
) -> tuple[Array, Array]:
    """Return times since the latest visible key of all devices, with so many axes."""
    queries, keys = arguments.query.shape[-2], arguments.key.shape[-2]
    if arguments.query_times is None and queries != keys:
        msg = "`query_times` must be given, got None with other numbers of queries and keys."
        raise ValueError(msg)
    times = complete_times(
        arguments.query_times,
        arguments.key_times,
        queries,
        keys,
        dtype=dtype,
        device=device_of(arguments.query),
        xp=xp,
    )
    times = with_rank(times[0], rank), with_rank(times[1], rank)
    return since_latest_key(*times, key_mask, dtype=dtype, over_devices=ring.maximum, xp=xp)


def _zero_hidden(
    problem: Problem,
    key_mask: Array,
    query_positions: Array,
    key_positions: Array,
    ring: Ring,
    *,
    xp: Namespace,
) -> Problem:
    """Set hidden keys to zero, and queries that attend to no key, with the times of both."""
    end = problem.visibility.keys * ring.devices
    first = xp.min(xp.where(key_mask, key_positions, end), axis=-1, keepdims=True)
    first = -ring.maximum(-first)  # the position of the first visible key on any device
    has_keys = query_positions >= first if problem.visibility.causal else first < end

    def zero(x: Array, visible: Array) -> Array:
        return xp.where(visible[..., None], x, 0.0)

    anchor = problem.packed.anchor
    packed = problem.packed._replace(
        query=zero(problem.packed.query, has_keys),
        key=zero(problem.packed.key, key_mask),
        value=zero(problem.packed.value, key_mask),
        anchor=None if anchor is None else zero(anchor, has_keys),
    )
    per_mode, variance = isinstance(problem.sde, DiagonalSDE), problem.query_variance
    shapes = {"query, key and value": problem.leading, "key_mask": tuple(key_mask.shape[:-1])}
    return problem._replace(
        packed=packed,
        query_variance=visible_variance(variance, has_keys, per_mode=per_mode, xp=xp),
        query_times=xp.where(has_keys, problem.query_times, 0.0),
        key_times=xp.where(key_mask, problem.key_times, 0.0),
        leading=broadcast_shape(shapes),
    )


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
