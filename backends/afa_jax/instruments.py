"""What measuring asks of JAX, and the rival that is JAX's own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax

from afa_core.command.bench import products, published
from afa_core.command.bench.contender import Call, Instruments
from afa_jax.rivals import DOT_PRODUCT


def _compile(function: Callable[..., Any], arrays: tuple[Any, ...]) -> Callable[..., Any]:
    compiled: Callable[..., Any] = jax.jit(function).lower(*arrays).compile()
    return compiled


def _pull(function: Callable[..., Any], upstream: Any, *arrays: Any) -> Any:
    output, back = jax.vjp(function, *arrays)
    return output, back(upstream)


def _device_memory(call: Call, _: str) -> int | None:
    """Return the peak since the process started beyond what is in use now."""
    before = jax.devices()[0].memory_stats()
    if not before or "peak_bytes_in_use" not in before:
        return None
    call()
    after = jax.devices()[0].memory_stats()
    return int(after["peak_bytes_in_use"]) - int(before["bytes_in_use"])


def _gpu() -> str:
    return next((str(each.device_kind) for each in jax.devices() if each.platform == "gpu"), "")


INSTRUMENTS = Instruments(
    wait=jax.block_until_ready,
    compile=_compile,
    pull=_pull,
    device_memory=_device_memory,
    gpu=_gpu,
    rivals=(
        DOT_PRODUCT,
        # Whole rows: a loop over tiles would be unrolled thousands of times.
        products.rival(partial(products.products, columns=None)),
        *published.rivals(partial(jax.nn.softmax, axis=-1)),
    ),
)
