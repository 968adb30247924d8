"""Few queries, as in decoding: the keys are cut into shares, each for a program of its own."""

from __future__ import annotations

from typing import Any

import torch
import triton

from afa_torch.triton.arguments import Results
from afa_torch.triton.prepare import Prepared
from afa_torch.triton.tuning import Blocks

FEWEST_TILES = 4
"""Tiles of a share: a program takes as long to begin as for some tiles."""


def with_splits(prepared: Prepared, programs: int, blocks: Blocks) -> Prepared:
    """Return a problem whose keys are cut such that all multiprocessors have a program."""
    tiles = triton.cdiv(prepared.numbers.keys, blocks.keys)
    free = multiprocessors(prepared.mask.device) // max(1, programs)
    splits = max(1, min(free, tiles // FEWEST_TILES))
    share = triton.cdiv(tiles, splits)
    numbers = prepared.numbers._replace(splits=max(1, triton.cdiv(tiles, share)))
    return prepared._replace(numbers=numbers)


def multiprocessors(device: Any) -> int:
    """Return how many programs run at once at least."""
    if device.type != "cuda":
        return 1
    return int(torch.cuda.get_device_properties(device).multi_processor_count)


def of_shares(found: Results, splits: int) -> Results:
    """Return the results of all keys from those of shares, whose heads follow each other."""
    if splits == 1:
        return found
    mean, precision, peak, total, limits = (x.unflatten(0, (splits, -1)) for x in found)
    highest = peak.amax(0)
    scaled = total * torch.exp(peak - torch.where(highest > -torch.inf, highest, 0.0))
    whole = scaled.sum(0)
    estimate = (scaled / torch.where(whole > 0.0, whole, 1.0) * mean).sum(0)
    visited = torch.stack([limits[..., 0].amin(0), limits[..., 1].amax(0)], -1)
    return Results(estimate, precision.sum(0), highest, whole, visited)
