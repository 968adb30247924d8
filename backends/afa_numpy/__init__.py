"""NumPy as a backend of afa-core."""

from __future__ import annotations

from typing import Any

from afa_core.backend import Backend, unusable
from afa_numpy.files import load, load_layers, save

__all__ = ["BACKEND", "load", "load_layers", "save"]


def _backend() -> Backend:
    try:
        import numpy as np
    except ImportError:
        return unusable("numpy", "numpy", "not installed; pip install 'afa-core[numpy]'")

    def from_numpy(x: Any, device: Any = None) -> Any:
        return np.asarray(x, device=device)

    return Backend(
        name="numpy",
        module="numpy",
        unavailable="",
        devices=("cpu",),
        from_numpy=from_numpy,
        to_numpy=np.asarray,
        compile=lambda function: function,
    )


BACKEND = _backend()
