"""JAX: compiled ahead of time; its baseline is `jax.nn.dot_product_attention`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp

from afa_bench.baselines import products, published, rotary
from afa_bench.candidates import Baseline, Call, Profiling, Task
from afa_bench.setting import Setting

Implementation = Literal["xla", "cudnn"] | None


def _compile(function: Callable[..., Any], arrays: tuple[Any, ...]) -> Callable[..., Any]:
    compiled: Callable[..., Any] = jax.jit(function).lower(*arrays).compile()
    return compiled


def _vjp(function: Callable[..., Any], cotangent: Any, *arrays: Any) -> Any:
    output, pullback = jax.vjp(function, *arrays)
    return output, pullback(cotangent)


def _device_memory(call: Call, _: str) -> int | None:
    """Return the peak since the process started less the memory in use before the call.

    Raises
    ------
    RuntimeError
        If the call did not raise that peak, so that its own is not known.
    """
    before = jax.devices()[0].memory_stats()
    if not before or "peak_bytes_in_use" not in before:
        return None
    synchronize: Any = jax.block_until_ready
    synchronize(call())
    after = jax.devices()[0].memory_stats()
    if after["peak_bytes_in_use"] == before["peak_bytes_in_use"]:
        raise RuntimeError("this process has needed as much memory before")
    return int(after["peak_bytes_in_use"]) - int(before["bytes_in_use"])


def _gpu() -> str:
    return next((str(each.device_kind) for each in jax.devices() if each.platform == "gpu"), "")


def rotate(x: Any, cosine: Any, sine: Any) -> Any:
    """Rotate interleaved pairs (batch, tokens, heads, 2d), given tables (tokens, d)."""
    a, b = x[..., 0::2], x[..., 1::2]
    c, s = (each[:, None, :].astype(x.dtype) for each in (cosine, sine))
    return jnp.stack([a * c - b * s, a * s + b * c], axis=-1).reshape(x.shape)


def dot_product(
    query: Any,
    key: Any,
    value: Any,
    cosine: Any,
    sine: Any,
    *,
    implementation: Implementation = None,
) -> Any:
    """Return causal dot-product attention with rotary encodings, (batch, tokens, heads, 2d)."""
    queries = query.shape[1]
    q = rotate(query, cosine[-queries:], sine[-queries:])
    k = rotate(key, cosine, sine)
    return jax.nn.dot_product_attention(
        q, k, value, is_causal=queries > 1, implementation=implementation
    )


def _prepare(task: Task, *, implementation: Implementation = None) -> Call:
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
    run = partial(dot_product, implementation=implementation)
    return task.call(run, (query, key, value), (cosine, sine))


def _cudnn_unsupported(setting: Setting) -> str:
    if not _gpu():
        return "is a kernel for GPUs"
    if setting.dtype != "bfloat16":
        return "takes half precision only"
    return rotary.unsupported(setting)


DOT_PRODUCT = Baseline(
    "dot_product_attention",
    f"jax.nn.dot_product_attention: {rotary.TITLE}",
    rotary.unsupported,
    _prepare,
)
CUDNN = Baseline(
    "dot_product_attention-cudnn",
    f"jax.nn.dot_product_attention by cuDNN: {rotary.TITLE}",
    _cudnn_unsupported,
    partial(_prepare, implementation="cudnn"),
    default=False,
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
    CUDNN,
    # Whole rows: a loop over tiles would be unrolled thousands of times.
    products.baseline(partial(products.products, columns=None)),
    *published.baselines(partial(jax.nn.softmax, axis=-1)),
)
