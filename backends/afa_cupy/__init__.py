"""CuPy as a backend of afa-core."""

from __future__ import annotations

from typing import Any

from afa_core.backend import Backend, unusable
from afa_cupy.files import load, load_layers, save

__all__ = ["BACKEND", "load", "load_layers", "save"]


def _backend() -> Backend:
    try:
        import cupy
    except ImportError:
        reason = "not installed; pip install 'afa-core[cupy-cuda13]' or 'afa-core[cupy-cuda12]'"
        return unusable("cupy", "cupy", reason)
    if not cupy.cuda.is_available():
        return unusable("cupy", "cupy", "no CUDA device is available")

    def from_numpy(x: Any, device: str | None = None) -> Any:
        with cupy.cuda.Device(int(device.removeprefix("cuda:")) if device else None):
            return cupy.asarray(x)

    return Backend(
        name="cupy",
        module="cupy",
        unavailable="",
        devices=tuple(f"cuda:{i}" for i in range(cupy.cuda.runtime.getDeviceCount())),
        from_numpy=from_numpy,
        to_numpy=cupy.asnumpy,
        compile=lambda function: function,
    )


BACKEND = _backend()
