"""A description of the machine: processor, memory, load, versions."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

import psutil
from cpuinfo import get_cpu_info

from afa_bench.records import Machine

PACKAGES = ("afa-core", "numpy", "torch", "jax", "jaxlib", "cupy-cuda13x", "cupy-cuda12x")


def machine(device: str = "") -> Machine:
    """Describe this machine; `device` is the name of its GPU."""
    return {
        "processor": get_cpu_info().get("brand_raw") or platform.processor(),
        "architecture": platform.machine(),
        "cores": _cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "system": platform.system(),
        "python": platform.python_version(),
        "threads": os.environ.get("OMP_NUM_THREADS", ""),
        "load_before": round(psutil.getloadavg()[0], 2),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
        "device": device,
    }


def _cores() -> int:
    """Return the number of cores that this process may use; all of them where it is unknown."""
    process = psutil.Process()
    return len(process.cpu_affinity()) if hasattr(process, "cpu_affinity") else os.cpu_count() or 1


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
