"""Rotation of modes in NumPy: a complex product, which passes once over memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from afa_core._array.pairs import Layout, Pair, rotate_packed

MIN_SHARED = 1 << 17
"""Modes from which on threads share a product."""

Work = Callable[[int, int], None]


def alone(jobs: int, work: Work) -> None:
    """Do all jobs."""
    work(0, jobs)


def rotate(
    packed: Any,
    by: Pair,
    source: Layout,
    target: Layout,
    *,
    xp: Any,
    run: Callable[[int, Work], None] = alone,
) -> Any:
    """Return e^{iθ} ⊙ z, packed; `run(jobs, work)` calls ``work(first, last)`` for all jobs."""
    if source != "interleaved" or target != source or packed.strides[-1] != packed.itemsize:
        return rotate_packed(packed, by, source, target, xp=xp)
    phase: Any = by
    dtype = np.result_type(packed.dtype, np.complex64)
    modes, factor = packed.view(dtype), (phase.real + 1j * phase.imag).astype(dtype, copy=False)
    result: Any = np.empty(np.broadcast_shapes(modes.shape, factor.shape), dtype)

    def multiply(first: int, last: int) -> None:
        rows = (..., slice(first, last), slice(None))
        np.multiply(modes[rows], factor[rows], out=result[rows])

    (run if result.size >= MIN_SHARED else alone)(result.shape[-2], multiply)
    return result.view(packed.dtype)
