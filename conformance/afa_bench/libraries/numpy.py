"""NumPy: arrays on the CPU, without compilation or differentiation."""

from __future__ import annotations

from typing import Any

import numpy as np

from afa_bench.baselines import attention_onnx, attention_step, products, published
from afa_bench.baselines.step import STEP
from afa_bench.candidates import Profiling


def head_by_head(query: Any, key: Any, value: Any) -> Any:
    """Return the products of one head after the other, whose tiles fit in the cache."""
    flat = (x.reshape(-1, *x.shape[-2:]) for x in (query, key, value))
    heads = [products.products(*tokens) for tokens in zip(*flat, strict=True)]
    return np.stack(heads).reshape(query.shape)


PROFILING = Profiling(
    synchronize=lambda result: None,
    compile=lambda function, arrays: function,
    vjp=None,
    device_memory=lambda call, device: None,
    gpu=lambda: "",
)
BASELINES = (
    products.baseline(head_by_head),
    *published.baselines(),
    STEP,
    attention_step.STEP,
    attention_onnx.MODEL,
)
