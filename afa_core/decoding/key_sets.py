"""The sets of keys that new tokens attend to: those of the cache, and their own (spec §9)."""

from __future__ import annotations

from typing import NamedTuple

from afa_core._array.arrays import Array, DType, Namespace, device_of, with_rank
from afa_core.decoding.cache import Appended, DecodeCache
from afa_core.decoding.execution import storage_of
from afa_core.decoding.forms import KeyVisibility, Tokens


class KeySet(NamedTuple):
    """Keys and values, and which keys are visible to which queries; those of a cache or not."""

    tokens: Tokens
    visibility: KeyVisibility
    cached: bool

    def part(self, keys: slice) -> KeySet:
        """Return some of the keys."""
        tokens = self.tokens.map(lambda x: x[..., keys, :])
        visible = self.visibility.visible
        visible = None if visible is None else visible[..., keys]
        return self._replace(tokens=tokens, visibility=self.visibility._replace(visible=visible))


def key_sets(cache: DecodeCache, step: Appended, dtype: DType, *, xp: Namespace) -> list[KeySet]:
    """Return the sets of keys: for one new token all keys of the new cache.

    Several new tokens see the cache before the step, and each sees itself and those before it.
    """
    count = step.times.shape[-2]
    if count == 1:
        return [cached_keys(step.cache, dtype, step.times.ndim, xp=xp)]
    place = xp.arange(count, dtype=xp.int32, device=device_of(step.tokens.key))
    visible = with_rank(place[None, :] <= place[:, None], step.times.ndim)
    if step.visible is not None:
        visible = xp.logical_and(visible, xp.matrix_transpose(step.visible))
    new = KeySet(step.tokens, KeyVisibility(visible, finite=False), cached=False)
    if not cache.key.shape[-2] or storage_of(xp).concrete(cache.used) == 0:
        return [new]
    return [cached_keys(cache, dtype, step.times.ndim, xp=xp), new]


def attending(cache: DecodeCache, step: Appended, *, xp: Namespace) -> Array | None:
    """Return which new tokens attend to any key, (..., c, 1), None if all do.

    They do from the first visible one on, and wherever a token of the cache is visible.
    """
    if step.visible is None:
        return None
    count = step.visible.shape[-2]
    place = xp.arange(count, dtype=xp.int32, device=device_of(step.visible))[:, None]
    place = with_rank(place, step.visible.ndim)
    first = xp.min(xp.where(step.visible, place, count), axis=-2, keepdims=True)
    own = place >= first
    visible = _cached_visible(cache, xp=xp)
    if visible is None:
        return own if storage_of(xp).concrete(cache.used) == 0 else None
    cached = xp.any(with_rank(visible, own.ndim), axis=-2, keepdims=True)
    return xp.logical_or(own, cached)


def cached_keys(cache: DecodeCache, dtype: DType, rank: int, *, xp: Namespace) -> KeySet:
    """Return the tokens of a cache, with so many axes; which are keys is the same for queries."""
    arrays = [cache.key, cache.value, cache.key2, cache.times]
    if cache.influence is not None:
        arrays.append(cache.influence)
    visible = _cached_visible(cache, xp=xp)
    if not storage_of(xp).masks_unused:
        arrays = [x[..., : cache.used, :] for x in arrays]
    arrays = [with_rank(x, rank) for x in arrays]
    key, value, key2 = (xp.astype(x, dtype, copy=False) for x in arrays[:3])
    columns = None if visible is None else xp.matrix_transpose(with_rank(visible, rank))
    tokens = Tokens(key, value, key2, *arrays[3:])
    return KeySet(tokens, KeyVisibility(columns, finite=True), cached=True)


def _cached_visible(cache: DecodeCache, *, xp: Namespace) -> Array | None:
    """Return which tokens of a cache are keys, (..., m, 1), None if all are; no unused slot is."""
    visible = cache.visible
    if not storage_of(xp).masks_unused:
        return None if visible is None else visible[..., : cache.used, :]
    place = xp.arange(cache.key.shape[-2], dtype=xp.int32, device=device_of(cache.key))
    used = with_rank((place < cache.used)[:, None], cache.key.ndim)
    return used if visible is None else xp.logical_and(used, visible)
