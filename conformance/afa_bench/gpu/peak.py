"""The rate of a large matrix product, and what share of it a measurement reaches."""

from __future__ import annotations

from functools import partial
from statistics import median
from typing import Any

import numpy as np

from afa_bench import timing
from afa_bench.cases import AFA
from afa_bench.gpu.sample import sampler
from afa_bench.records import Record
from afa_bench.setting import Setting, from_json
from afa_core._array.arrays import namespace
from afa_core.backend import Backend

SIZE = 8192
"""Rows and columns of the matrices."""
DTYPES = ("bfloat16", "float32")
BACKWARD = 3.5
"""Operations of a forward and backward pass over those of the forward pass: a backward pass has
five products of matrices, the forward pass two."""
SECONDS = 0.5


def peaks(backend: Backend, synchronize: Any, device: str) -> dict[str, float]:
    """Return the operations per second of a product of two square matrices, by dtype."""
    numbers = np.random.default_rng(0).standard_normal((SIZE, SIZE), dtype=np.float32)
    wide: Any = backend.from_numpy(numbers, device or None)
    xp: Any = namespace(wide=wide)
    found = {}
    for dtype in DTYPES:
        matrix = xp.astype(wide, getattr(xp, dtype))
        call = partial(xp.matmul, matrix, matrix)
        synchronize(call())
        seconds = timing.alternate({dtype: call}, 7, SECONDS, sampler(synchronize))[dtype]
        found[dtype] = 2.0 * SIZE**3 / median(seconds)
    return found


def operations(setting: Setting) -> float:
    """Return the operations of the two products of attention, which are usual to count."""
    return 4.0 * setting.pairs * 2 * setting.modes * (BACKWARD if setting.backward else 1.0)


def rate(record: Record, name: str) -> float | None:
    """Return the operations per second of a candidate, None where it has not done them all."""
    setting, found = from_json(record["setting"]), record["candidates"].get(name, {})
    full = name.startswith(("sdpa", "dot_product_attention"))
    if "seconds" not in found or (setting.correlated and not full):
        return None
    return operations(setting) / median(found["seconds"])


def share(record: Record, peaks: dict[str, float], name: str = AFA) -> float | None:
    """Return the rate of a candidate over that of a matrix product of the same dtype."""
    found, peak = rate(record, name), peaks.get(record["setting"]["dtype"])
    return found / peak if found and peak else None
