"""JAX: compiled ahead of time; its baseline is `jax.nn.dot_product_attention`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from afa_bench.baselines import products, published, rotary
from afa_bench.candidates import Baseline, Call, Profiling, Task


def _compile(function: Callable[..., Any], arrays: tuple[Any, ...]) -> Callable[..., Any]:
    compiled: Callable[..., Any] = jax.jit(function).lower(*arrays).compile()
    return compiled


def _vjp(function: Callable[..., Any], cotangent: Any, *arrays: Any) -> Any:
    output, pullback = jax.vjp(function, *arrays)
    return output, pullback(cotangent)


def _device_memory(call: Call, _: str) -> int | None:
    """Return the peak since the process started less the memory in use before the call."""
    before = jax.devices()[0].memory_stats()
    if not before or "peak_bytes_in_use" not in before:
        return None
    call()
    after = jax.devices()[0].memory_stats()
    return int(after["peak_bytes_in_use"]) - int(before["bytes_in_use"])


def _gpu() -> str:
    return next((str(each.device_kind) for each in jax.devices() if each.platform == "gpu"), "")


def rotate(x: Any, cosine: Any, sine: Any) -> Any:
    """Rotate interleaved pairs (batch, tokens, heads, 2d), given tables (tokens, d)."""
    a, b = x[..., 0::2], x[..., 1::2]
    c, s = (each[:, None, :].astype(x.dtype) for each in (cosine, sine))
    return jnp.stack([a * c - b * s, a * s + b * c], axis=-1).reshape(x.shape)


def dot_product(query: Any, key: Any, value: Any, cosine: Any, sine: Any) -> Any:
    """Return causal dot-product attention with rotary encodings, (batch, tokens, heads, 2d)."""
    queries = query.shape[1]
    q = rotate(query, cosine[-queries:], sine[-queries:])
    k = rotate(key, cosine, sine)
    return jax.nn.dot_product_attention(q, k, value, is_causal=queries > 1)


def _prepare(task: Task) -> Call:
    """Move the heads after the tokens before the measurement, as the function requires."""
    query, key, value, cotangent = (jnp.swapaxes(x, 1, 2) for x in task.inputs[:4])
    cosine, sine = rotary.tables(task)
    task = task._replace(inputs=task.inputs._replace(cotangent=cotangent))
    if task.setting.case == "decode":
        # The cache holds rotated keys.
        key = rotate(key, cosine, sine)

        def step(query: Any, key: Any, value: Any, cosine: Any, sine: Any) -> Any:
            return jax.nn.dot_product_attention(rotate(query, cosine, sine), key, value)

        return task.call(step, (query, key, value), (cosine[-1:], sine[-1:]))
    return task.call(dot_product, (query, key, value), (cosine, sine))


DOT_PRODUCT = Baseline(
    "dot_product_attention",
    f"jax.nn.dot_product_attention: {rotary.TITLE}",
    rotary.unsupported,
    _prepare,
)
PROFILING = Profiling(
    synchronize=jax.block_until_ready,
    compile=_compile,
    vjp=_vjp,
    device_memory=_device_memory,
    gpu=_gpu,
)
BASELINES = (
    DOT_PRODUCT,
    # Whole rows: a loop over tiles would be unrolled thousands of times.
    products.baseline(partial(products.products, columns=None)),
    *published.baselines(partial(jax.nn.softmax, axis=-1)),
)
