"""Rotation of modes in PyTorch: a complex product, which passes once over memory.

By single operations on real and imaginary parts each of the two takes three passes, over every
other number where parts are interleaved.
"""

from __future__ import annotations

from typing import Any

import torch

from afa_core._array.pairs import Layout, Pair, rotate_packed, unpack


def rotate(packed: Any, by: Pair, source: Layout, target: Layout, *, xp: Any) -> Any:
    """Return e^{iθ} ⊙ z, packed."""
    if torch.compiler.is_compiling():  # compilers put real operations together, not complex ones
        return rotate_packed(packed, by, source, target, xp=xp)
    phase: Any = by
    parts = torch.view_as_real(_complex(packed, source) * torch.complex(*phase))
    return parts.flatten(-2) if target == "interleaved" else torch.cat(parts.unbind(-1), -1)


def _complex(packed: Any, layout: Layout) -> Any:
    """Return packed modes as complex numbers, without a copy where they lie in memory as such."""
    *strides, last = packed.stride()
    whole = last == 1 and all(each % 2 == 0 for each in (packed.storage_offset(), *strides))
    if layout == "interleaved" and whole:
        return torch.view_as_complex(packed.unflatten(-1, (-1, 2)))
    parts: Any = unpack(packed, layout)
    return torch.complex(*parts)
