"""PyTorch as a backend of afa-core."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from afa_core.backend import Backend, gradients_by, unusable

if TYPE_CHECKING:
    BACKEND: Backend

    from afa_torch import nn
    from afa_torch.files import load, load_into, load_layers, save
    from afa_torch.layer import AdaptiveFilterAttention
    from afa_torch.ring import ring_attention, ring_estimate, shard, sum_gradients, unshard

__all__ = [
    "BACKEND",
    "AdaptiveFilterAttention",
    "load",
    "load_into",
    "load_layers",
    "nn",
    "ring_attention",
    "ring_estimate",
    "save",
    "shard",
    "sum_gradients",
    "unshard",
]
RING = {"ring_attention", "ring_estimate", "shard", "sum_gradients", "unshard"}


def __getattr__(name: str) -> Any:
    """Import and find the rest lazily.

    The package is imported without PyTorch too, and asks for no GPUs.
    """
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    if name == "BACKEND":
        return _backend()
    if name == "nn":
        return import_module(f"{__name__}.nn")
    home = "layer" if name == "AdaptiveFilterAttention" else "ring" if name in RING else "files"
    return getattr(import_module(f"{__name__}.{home}"), name)


@cache
def _backend() -> Backend:
    try:
        import torch
    except ImportError:
        return unusable("torch", "torch", "not installed; pip install 'afa-core[torch]'")

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

    def no_transfers() -> AbstractContextManager[Any]:
        from afa_torch.transfers import NoTransfers

        return NoTransfers()  # type: ignore[no-untyped-call]

    traced = gradients_by(torch.func.grad)

    def grad(function: Callable[..., Any], *arrays: Any) -> tuple[Any, ...]:
        if torch.compiler.is_compiling():  # where autograd cannot be called
            return traced(function, *arrays)
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
        vmap=torch.func.vmap,
        no_transfers=no_transfers,
    )
