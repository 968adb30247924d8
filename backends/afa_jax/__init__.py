"""JAX as a backend of afa-core."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from afa_core.backend import Backend, gradients_by, unusable
from afa_jax.files import load, load_layers, save

if TYPE_CHECKING:
    BACKEND: Backend

    from afa_jax.ring import ring_attention, ring_estimate, sharded_attention

__all__ = [
    "BACKEND",
    "load",
    "load_layers",
    "ring_attention",
    "ring_estimate",
    "save",
    "sharded_attention",
]


def __getattr__(name: str) -> Any:
    """Import and find the rest lazily.

    The package is imported without JAX too, and asks for no devices: after that JAX can be
    configured no more.
    """
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return _backend() if name == "BACKEND" else getattr(import_module(f"{__name__}.ring"), name)


@cache
def _backend() -> Backend:
    try:
        import jax
        import jax.numpy as jnp
        import numpy as np
    except ImportError:
        return unusable("jax", "jax.numpy", "not installed; pip install 'afa-core[jax]'")

    found = {f"{each.platform}:{each.id}": each for each in jax.devices()}

    def from_numpy(x: Any, device: str | None = None) -> Any:
        return jnp.asarray(x, device=None if device is None else found[device])

    return Backend(
        name="jax",
        module="jax.numpy",
        unavailable="",
        devices=tuple(found),
        from_numpy=from_numpy,
        to_numpy=np.asarray,
        compile=jax.jit,
        grad=gradients_by(jax.grad),
        vmap=jax.vmap,
        no_transfers=lambda: jax.transfer_guard_device_to_host("disallow"),
    )
