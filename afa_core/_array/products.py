"""Matrix products in full precision."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import array_api_compat

from afa_core._array.arrays import Array, Namespace


def matmul(a: Array, b: Array, *, xp: Namespace) -> Array:
    """Return the matrix product, its factors rounded to no fewer bits than their dtype has.

    On accelerators JAX multiplies single precision in fewer bits (TF32, bfloat16) unless it is
    asked for more, and PyTorch under `torch.autocast`. In residuals, differences of such products,
    those bits are all that is left. Otherwise libraries do so only where their global switches say
    so.
    """
    if array_api_compat.is_jax_namespace(cast(Any, xp)):
        return xp.matmul(a, b, precision="highest")
    with full_precision(a, xp=xp):
        return xp.matmul(a, b)


def full_precision(x: Array, *, xp: Namespace) -> AbstractContextManager[Any]:
    """Return a context in which `torch.autocast` changes no dtype on the device of an array."""
    if array_api_compat.is_torch_namespace(cast(Any, xp)):
        torch: Any = xp
        device = cast(Any, x).device.type
        if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
            context: AbstractContextManager[Any] = torch.autocast(device, enabled=False)
            return context
    return nullcontext()
