"""CuPy: arrays on an NVIDIA GPU, without differentiation. CuPy is imported when it is used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from afa_bench.baselines import products, published
from afa_bench.candidates import Call, Profiling


def _synchronize(_: Any) -> None:
    import_module("cupy").cuda.get_current_stream().synchronize()


def _device_memory(call: Call, _: str) -> int:
    """Return the size of the memory pool after a call less the memory in use before it."""
    pool = import_module("cupy").get_default_memory_pool()
    pool.free_all_blocks()
    before = int(pool.used_bytes())
    call()
    return int(pool.total_bytes()) - before


def _gpu() -> str:
    return str(import_module("cupy").cuda.runtime.getDeviceProperties(0)["name"].decode())


PROFILING = Profiling(
    synchronize=_synchronize,
    compile=lambda function, arrays: function,
    vjp=None,
    device_memory=_device_memory,
    gpu=_gpu,
)
BASELINES = (products.baseline(), *published.baselines())
