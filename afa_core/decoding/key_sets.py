"""The sets of keys that new tokens attend to: those of the cache, and their own (spec §9)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

from afa_core._array.arrays import Array, DType, Namespace, device_of
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
        return [_cached_keys(step.cache, dtype, xp=xp)]
    place = xp.arange(count, dtype=xp.int32, device=device_of(step.tokens.key))
    visible = place[None, :] <= place[:, None]
    if step.visible is not None:
        visible = xp.logical_and(visible, xp.matrix_transpose(step.visible))
    new = KeySet(step.tokens, KeyVisibility(visible, finite=False), cached=False)
    if not cache.key.shape[-2] or storage_of(xp).concrete(cache.used) == 0:
        return [new]
    return [_cached_keys(cache, dtype, xp=xp), new]


def attending(keys: Sequence[KeySet], *, xp: Namespace) -> Array | None:
    """Return which queries attend to any of the keys, (..., n or 1, 1), None if all do."""
    found = []
    for each in keys:
        if each.visibility.visible is None:
            return None
        found.append(xp.any(each.visibility.visible, axis=-1, keepdims=True))
    return reduce(xp.logical_or, found)


def _cached_keys(cache: DecodeCache, dtype: DType, *, xp: Namespace) -> KeySet:
    """Return the tokens of a cache; which of them are keys is the same for every query."""
    arrays = [cache.key, cache.value, cache.key2, cache.times]
    if cache.influence is not None:
        arrays.append(cache.influence)
    visible = cache.visible
    if storage_of(xp).masks_unused:
        place = xp.arange(cache.key.shape[-2], dtype=xp.int32, device=device_of(cache.key))
        used = (place < cache.used)[:, None]
        visible = used if visible is None else xp.logical_and(used, visible)
    else:
        arrays = [x[..., : cache.used, :] for x in arrays]
        visible = None if visible is None else visible[..., : cache.used, :]
    key, value, key2 = (xp.astype(x, dtype, copy=False) for x in arrays[:3])
    columns = None if visible is None else xp.matrix_transpose(visible)
    tokens = Tokens(key, value, key2, *arrays[3:])
    return KeySet(tokens, KeyVisibility(columns, finite=True), cached=True)
