"""The blocks of each kernel."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from afa_core.streaming.operands import Operands
from afa_jax.pallas.arguments import Blocks


class Pair(NamedTuple):
    """Blocks of the forward and those of the backward."""

    forward: Blocks
    backward: Blocks


NARROW = Pair(Blocks(128, 64, 4, 3), Blocks(64, 64, 4, 2))
WIDE = Pair(Blocks(128, 64, 8, 3), Blocks(64, 64, 8, 2))
WIDEST = Pair(Blocks(64, 32, 4, 2), Blocks(32, 32, 4, 1))
"""For tokens in half precision of at most 64 channels, of at most 128, and of more."""
FULL = Pair(Blocks(64, 32, 8, 2), Blocks(32, 32, 8, 1))
FULL_WIDEST = Pair(Blocks(32, 32, 4, 1), Blocks(16, 32, 4, 1))
"""In single precision, of at most 128 channels and of more."""
INTERPRETED = Pair(Blocks(32, 16, 4, 1), Blocks(32, 16, 4, 1))


def blocks_of(operands: Operands, most: int, *, interpret: bool) -> Pair:
    """Return blocks of at most so many queries, and twice as many keys."""
    own: Any = operands
    channels = max(own.query.shape[-1], own.value.shape[-1])
    if interpret:
        found = INTERPRETED
    elif own.query.dtype == jnp.float32:
        found = FULL if channels <= 128 else FULL_WIDEST
    elif channels <= 128:
        found = NARROW if channels <= 64 else WIDE
    else:
        found = WIDEST
    most = max(16, 1 << (most.bit_length() - 1))
    return Pair(
        *(
            each._replace(queries=min(each.queries, most), keys=min(each.keys, 2 * most))
            for each in found
        )
    )
