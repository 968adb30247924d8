"""Whether derivatives may be taken with respect to a tensor."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.forward_ad import unpack_dual


def is_differentiated(x: Any) -> bool:
    """Return whether a tensor has a gradient or a tangent, or belongs to a map of `torch.func`."""
    if torch.is_grad_enabled() and x.requires_grad:
        return True
    if torch.compiler.is_compiling():
        return False
    try:
        x.data_ptr()
        return has_tangent(x)
    except RuntimeError:  # under torch.func, whose tensors have no memory of their own
        return True


def has_tangent(x: Any) -> bool:
    """Return whether a tensor is a dual number, also while it is compiled."""
    return unpack_dual(x).tangent is not None  # type: ignore[no-untyped-call]
