"""CuPy as a backend of afa-core."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from afa_core.backend import Backend, unusable
from afa_cupy.files import load, load_layers, save

if TYPE_CHECKING:
    BACKEND: Backend

__all__ = ["BACKEND", "load", "load_layers", "save"]


def __getattr__(name: str) -> Any:
    """Find the backend lazily: a process that has asked for GPUs leaves none to its forks."""
    if name != "BACKEND":
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return _backend()


@cache
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
