"""Early exit of steps: far cached keys are left out once they cannot matter (spec §14).

Robust weights are at most 1, so that the keys before an edge have at most the weight

    R_i = Σ_{j≤b} a_ij^β ≤ b^{max(0, 1−β)} e^{β(C_i − C_b)}

of the b tokens before it. A head does without them where R_i ≤ τZ_i in every row, with Z_i the
weight of the keys that all heads visit. Both are compared as logarithms: either may underflow.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import pairwise
from math import log
from operator import add
from typing import TypeAlias

from afa_core._array.arrays import (
    Array,
    Namespace,
    append_axes,
    device_of,
    is_number,
)
from afa_core._array.log_sum_exp import merge_sums
from afa_core.decoding.cache import LATEST
from afa_core.decoding.execution import storage_of
from afa_core.decoding.forms import KeySums, ModelSpec, Queries, Tokens, evaluate
from afa_core.decoding.heads import Heads
from afa_core.decoding.key_sets import KeySet
from afa_core.model.influence import log_or_lowest
from afa_core.model.sde import RadialTangential

Sums: TypeAlias = KeySums | RadialTangential
MIN_KEYS = 8192
"""Cached keys from which on some may be left out: fewer are visited faster at once."""


def sums_of(
    queries: Queries,
    key_sets: Sequence[KeySet],
    finite: Array | None,
    tolerance: float,
    spec: ModelSpec,
    *,
    xp: Namespace,
) -> list[Sums]:
    """Return the sums over sets of keys, without keys of the cache that cannot matter.

    `finite` is whether all keys and values are, None if they are not correlated: others reach
    every row, however small its weight. Every key is visited where values cannot be read.
    """
    cached, *others = key_sets
    count, read = cached.tokens.key.shape[-2], storage_of(xp).read
    if not (cached.cached and may_exit(count, finite, tolerance)) or not read(finite):
        return [evaluate(queries, each.tokens, each.visibility, spec, xp=xp) for each in key_sets]
    edges = block_edges(count)
    near, *new = (
        evaluate(queries, each.tokens, each.visibility, spec, xp=xp)
        for each in (cached.part(slice(edges[0], None)), *others)
    )
    needed = _needed_blocks([near, *new], queries, cached.tokens, edges, tolerance, spec, xp=xp)
    axis, by_head = _by_head(needed, cached.tokens, xp=xp)
    counts = read(by_head) or [len(edges)] * by_head.shape[0]
    for place, (stop, start) in enumerate(pairwise(edges)):
        visiting = [head for head, count in enumerate(counts) if count > place]
        if not visiting:
            break
        heads = Heads(slice(visiting[0], visiting[-1] + 1), axis)
        block = cached.part(slice(start, stop))
        far = evaluate(*heads.of_problem(queries, block.tokens, block.visibility, spec), xp=xp)
        near = _joined(near, far, heads, xp=xp)
    return [near, *new]


def may_exit(keys: int, finite: Array | None, tolerance: float) -> bool:
    """Return whether some of so many cached keys may be left out; `finite` as in `sums_of`."""
    return finite is not None and tolerance > 0.0 and keys >= MIN_KEYS


def block_edges(keys: int) -> list[int]:
    """Return the edges of blocks of so many keys from the latest to the farthest, the last one 0.

    Each block is as long as all later ones together, after the first.
    """
    if keys < MIN_KEYS:
        return [0]
    edges = [keys]
    while edges[-1]:
        edge = edges[-1] - max(keys - edges[-1], LATEST)
        edges.append(edge if edge > LATEST else 0)
    return edges[1:]


def _needed_blocks(
    visited: Sequence[Sums],
    queries: Queries,
    tokens: Tokens,
    edges: Sequence[int],
    tolerance: float,
    spec: ModelSpec,
    *,
    xp: Namespace,
) -> Array:
    """Return how many blocks of keys before those visited may matter, (...)."""
    assert queries.filter is not None
    assert tokens.influence is not None
    log_kept = reduce(add, queries.filter.log_kept)[..., :, None, :]  # (..., n, 1, s)
    filters, dtype = log_kept.shape[-1], log_kept.dtype
    before = [edge for edge in edges if edge]
    at_edges = [tokens.influence[..., edge - 1 : edge, -filters:] for edge in before]
    relative = log_kept - xp.concat(at_edges, axis=-2)[..., None, :, :]  # (..., n, edges, s)
    count = xp.asarray(before, dtype=dtype, device=device_of(log_kept))[:, None]
    beta = append_axes(spec.weight.inverse_temperature, 3)
    sums = [_log_totals(visited, xp=xp)]
    if not is_number(beta) or beta != 1.0:
        sums.append(_log_untempered(visited, queries.filter.variance, xp=xp))
    matters = []
    for power, log_total in zip((beta, 1.0), sums, strict=False):
        fewer = max(1.0 - power, 0.0) if is_number(power) else xp.maximum(1.0 - power, 0.0)
        log_left = power * relative + fewer * xp.log(count)
        negligible = log_left <= log_total[..., :, None, :] + log(tolerance)
        matters.append(xp.logical_not(xp.all(negligible, axis=(-3, -1))))
    return xp.sum(xp.astype(reduce(xp.logical_or, matters), xp.int32), axis=-1)


def _log_totals(visited: Sequence[Sums], *, xp: Namespace) -> Array:
    """Return log Z of the keys visited, (..., n, s)."""
    totals = (
        xp.concat([x.peak + log_or_lowest(x.total, xp=xp) for x in _components(each)], axis=-1)
        for each in visited
    )
    return reduce(xp.logaddexp, totals)


def _log_untempered(visited: Sequence[Sums], variance: Array, *, xp: Namespace) -> Array:
    """Return log Σ_j a_ij w_ij of the keys visited, from precisions Σ_j a_ij w_ij / P_i."""
    precision = reduce(
        add, (xp.concat([x.precision for x in _components(each)], axis=-1) for each in visited)
    )
    known = xp.where(variance > 0.0, precision, 0.0)
    return log_or_lowest(known, xp=xp) + log_or_lowest(variance, xp=xp)


def _by_head(needed: Array, tokens: Tokens, *, xp: Namespace) -> tuple[int, Array]:
    """Return the axis of heads, as `Heads` counts it, and how many blocks may matter to each.

    Heads differ in the influence of their keys; where none do they are taken together.
    """
    assert tokens.influence is not None
    sizes = reversed(tokens.influence.shape[:-2])
    differing = (axis for axis, size in enumerate(sizes, 1) if size > 1)
    axis = next(differing, needed.ndim + 1)
    others = tuple(each for each in range(needed.ndim) if each != needed.ndim - axis)
    return axis, xp.reshape(xp.max(needed, axis=others) if others else needed, (-1,))


def _joined(near: Sums, far: Sums, heads: Heads, *, xp: Namespace) -> Sums:
    """Return the sums over keys that all heads visit and others that some of them do."""
    if isinstance(near, RadialTangential):
        assert isinstance(far, RadialTangential)
        return RadialTangential(
            *(_joined(*each, heads, xp=xp) for each in zip(near, far, strict=True))
        )
    assert isinstance(far, KeySums)
    own = heads.of(near)
    components = own.peak.shape[-1]

    def as_wide(sums: KeySums) -> tuple[Array, ...]:
        if components == 1:
            return sums[:3]
        peak, total = (xp.concat([x, x], axis=-1) for x in sums[:2])  # real and imaginary parts
        return peak, total, sums.carried

    peak, total, carried = merge_sums(as_wide(own), as_wide(far), xp=xp)
    joined = peak[..., :components], total[..., :components], carried, own.precision + far.precision
    return KeySums(*(heads.replaced(*each, xp=xp) for each in zip(near, joined, strict=True)))


def _components(sums: Sums) -> tuple[KeySums, ...]:
    return tuple(sums) if isinstance(sums, RadialTangential) else (sums,)
