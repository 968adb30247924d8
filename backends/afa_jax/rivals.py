"""The rival that is JAX's own: dot-product attention."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from afa_core.command.bench import rotary
from afa_core.command.bench.contender import Call, Rival, Task


def rotate(x: Any, cosine: Any, sine: Any) -> Any:
    """Return interleaved pairs (batch, tokens, heads, 2d) turned by angles (tokens, d)."""
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
    """Put the heads after the tokens beforehand, as the function wants them."""
    query, key, value, upstream = (jnp.swapaxes(x, 1, 2) for x in task.inputs[:4])
    cosine, sine = rotary.tables(task)
    native = task._replace(inputs=task.inputs._replace(upstream=upstream))
    if task.setting.case == "decode":
        # Keys are rotated once, when they enter the cache.
        key = rotate(key, cosine, sine)

        def step(query: Any, key: Any, value: Any, cosine: Any, sine: Any) -> Any:
            return jax.nn.dot_product_attention(rotate(query, cosine, sine), key, value)

        return native.call(step, (query, key, value), (cosine[-1:], sine[-1:]))
    return native.call(dot_product, (query, key, value), (cosine, sine))


DOT_PRODUCT = Rival(
    "dot_product_attention",
    f"jax.nn.dot_product_attention: {rotary.TITLE}",
    rotary.refusal,
    _prepare,
)
