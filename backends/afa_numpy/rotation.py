"""Rotation of modes in NumPy: a complex product, which passes once over memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from afa_core._array.pairs import Layout, Pair, rotate_packed


def rotate(packed: Any, by: Pair, source: Layout, target: Layout, *, xp: Any) -> Any:
    """Return e^{iθ} ⊙ z, packed."""
    if source != "interleaved" or target != source or packed.strides[-1] != packed.itemsize:
        return rotate_packed(packed, by, source, target, xp=xp)
    phase: Any = by
    dtype = np.result_type(packed.dtype, np.complex64)
    result = packed.view(dtype) * (phase.real + 1j * phase.imag).astype(dtype, copy=False)
    return result.view(packed.dtype)
