"""What measuring asks of CuPy, which is imported when it is measured."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from afa_bench.baselines import products, published
from afa_bench.candidates import Call, Instruments


def _wait(_: Any) -> None:
    import_module("cupy").cuda.get_current_stream().synchronize()


def _device_memory(call: Call, _: str) -> int:
    """Return by how much the pool of device memory grows: its height during the call."""
    pool = import_module("cupy").get_default_memory_pool()
    pool.free_all_blocks()
    before = int(pool.used_bytes())
    call()
    return int(pool.total_bytes()) - before


def _gpu() -> str:
    return str(import_module("cupy").cuda.runtime.getDeviceProperties(0)["name"].decode())


INSTRUMENTS = Instruments(
    wait=_wait,
    compile=lambda function, arrays: function,
    pull=None,
    device_memory=_device_memory,
    gpu=_gpu,
    rivals=(products.rival(), *published.rivals()),
)
