"""Where a measurement was made: processor, memory, versions."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from afa_bench.proc import MEMORY, PROCESSORS, field, size

PACKAGES = ("afa-core", "numpy", "torch", "jax", "jaxlib", "cupy-cuda13x", "cupy-cuda12x")


def machine() -> dict[str, Any]:
    """Return processor, cores, memory, system, Python and the versions of the libraries.

    ``load_before`` is the load average of the last minute, ``threads`` what OMP_NUM_THREADS says.
    """
    return {
        "processor": field(PROCESSORS, "model name") or platform.processor(),
        "architecture": platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else _cores(),
        "memory_gib": _memory(),
        "system": platform.system(),
        "python": platform.python_version(),
        "threads": os.environ.get("OMP_NUM_THREADS", ""),
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
    }


def _cores() -> int:
    return os.cpu_count() or 1


def _memory() -> int | None:
    total = size(MEMORY, "MemTotal")
    return round(total / 2**30) if total else None


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
