"""PyTorch as a backend of afa-core."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from afa_core.backend import Backend, unusable

__all__ = ["BACKEND"]


def _backend() -> Backend:
    try:
        import torch
    except ImportError:
        return unusable("torch", "torch", "not installed; pip install 'afa-core[torch]'")

    from afa_torch.storage import STORAGE
    from afa_torch.streaming import ENGINE

    def devices() -> tuple[str, ...]:
        gpus = tuple(f"cuda:{index}" for index in range(torch.cuda.device_count()))
        return (*gpus, *(("mps",) if torch.backends.mps.is_available() else ()), "cpu")

    def from_numpy(x: Any, device: str | None = None) -> Any:
        # A copy: torch takes no read-only memory, foreign byte orders or negative strides.
        if x.dtype.name == "bfloat16":
            return torch.asarray(x.astype("float32"), dtype=torch.bfloat16, device=device)
        return torch.asarray(x.astype(x.dtype.newbyteorder("=")), device=device)

    def to_numpy(x: Any) -> Any:
        x = x.detach().cpu().resolve_conj().resolve_neg()
        return (x.float() if x.dtype == torch.bfloat16 else x).numpy()

    def grad(function: Callable[..., Any], *arrays: Any) -> tuple[Any, ...]:
        leaves = [x.detach().clone().requires_grad_() for x in arrays]
        return torch.autograd.grad(function(*leaves), leaves, materialize_grads=True)

    return Backend(
        name="torch",
        module="torch",
        unavailable="",
        devices=devices(),
        from_numpy=from_numpy,
        to_numpy=to_numpy,
        compile=lambda function: torch.compile(function, fullgraph=True),
        grad=grad,
        engine=ENGINE,
        storage=STORAGE,
    )


BACKEND = _backend()
