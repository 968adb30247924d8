"""How a sequence is divided into chunks, and which chunks each device holds (spec §9).

A causal sequence is divided into 2P chunks, and device i of P holds chunks i and 2P − 1 − i, which
gives all devices the same number of visible pairs. Any other sequence is divided into P chunks.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

from afa_core._array.arrays import Array, Device, Namespace


def device_chunks(device: Any, devices: int, *, causal: bool) -> tuple[Any, ...]:
    """Return the chunks of a device, an int or a traced integer."""
    return (device, 2 * devices - 1 - device) if causal else (device,)


def chunk_order(devices: int, *, causal: bool) -> list[int]:
    """Return the chunks of all devices, one device after another."""
    return list(chain(*(device_chunks(each, devices, causal=causal) for each in range(devices))))


def inverse_permutation(order: Sequence[int]) -> list[int]:
    """Return the permutation that undoes `order`."""
    return sorted(range(len(order)), key=order.__getitem__)


def token_places(
    tokens: int, index: Any, devices: int, *, causal: bool, device: Device, xp: Namespace
) -> Array:
    """Return the places that the tokens of a device have in the whole sequence, (tokens,)."""
    chunks = device_chunks(index, devices, causal=causal)
    size = tokens // len(chunks)
    within = xp.arange(size, dtype=xp.int32, device=device)
    return xp.concat([within + chunk * size for chunk in chunks], axis=0)


def take_chunks(x: Array, chunks: Sequence[int], count: int, axis: int, *, xp: Namespace) -> Array:
    """Return the given chunks of an axis, which is divided into `count` of them, concatenated."""
    axis %= x.ndim
    size, before = x.shape[axis] // count, (slice(None),) * axis
    parts = [x[(*before, slice(each * size, (each + 1) * size))] for each in chunks]
    return xp.concat(parts, axis=axis)


def pad_tokens(x: Array, multiple: int, axis: int, *, xp: Namespace) -> Array:
    """Pad an axis to a multiple of `multiple`: by False for a mask, else by the last token."""
    axis %= x.ndim
    missing = -x.shape[axis] % multiple
    if not missing:
        return x
    last = x[(*(slice(None),) * axis, slice(-1, None))]
    shape = (*x.shape[:axis], missing, *x.shape[axis + 1 :])
    padding = xp.broadcast_to(xp.zeros_like(last) if last.dtype == xp.bool else last, shape)
    return xp.concat([x, padding], axis=axis)
