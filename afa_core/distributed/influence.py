"""The influence of correlated keys on the devices of a ring (spec §14).

The gains of keys and their levels belong to the whole sequence, and depend on its times and its key
mask alone: a few numbers beside the tokens. Every device gathers these, runs the filter over the
whole sequence and takes the levels of its own queries and keys.
"""

from __future__ import annotations

from afa_core._array.arrays import Array, Namespace, device_of
from afa_core._checks.problem import Problem
from afa_core.distributed.chunks import (
    chunk_order,
    inverse_permutation,
    take_chunks,
    token_places,
)
from afa_core.distributed.ring import Ring
from afa_core.model.influence import Timeline
from afa_core.streaming.influence import StreamedInfluence, streamed_influence
from afa_core.streaming.operands import components_of


def shard_influence(
    problem: Problem, key_mask: Array | None, ring: Ring, *, xp: Namespace
) -> StreamedInfluence:
    """Return the influence of the keys of all devices on the queries of this one.

    Levels of keys are those of this device.
    """
    queries, keys, causal, _ = problem.visibility
    order = chunk_order(ring.devices, causal=causal)

    def whole(arrays: list[Array]) -> list[Array]:
        restored = inverse_permutation(order)
        return [take_chunks(x, restored, len(order), -1, xp=xp) for x in ring.gather(arrays)]

    def own(x: Array, tokens: int, axis: int) -> Array:
        place, device = (ring.index, ring.devices), device_of(problem.packed.query)
        places = token_places(tokens, *place, causal=causal, device=device, xp=xp)
        return xp.take(x, places, axis=axis)

    times = whole([problem.query_times, problem.key_times])
    visible = None if key_mask is None else whole([key_mask])[0]
    timeline = Timeline(times[0], times[1], visible, causal, regular=False)
    components = components_of(type(problem.sde), problem.modes)
    found = streamed_influence(timeline, problem.sde, components, xp=xp)
    return StreamedInfluence(
        own(found.query_level, queries, -3),
        own(found.key_level, keys, -3),
        own(found.variance, queries, -2),
        None if found.missing is None else own(found.missing, queries, -2),
    )
