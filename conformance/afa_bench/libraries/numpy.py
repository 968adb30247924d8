"""What measuring asks of NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from afa_bench.baselines import products, published
from afa_bench.candidates import Instruments


def head_by_head(query: Any, key: Any, value: Any) -> Any:
    """Return the two products with the tiles of one head at a time, which fit in the cache."""
    flat = (x.reshape(-1, *x.shape[-2:]) for x in (query, key, value))
    heads = [products.products(*tokens) for tokens in zip(*flat, strict=True)]
    return np.stack(heads).reshape(query.shape)


INSTRUMENTS = Instruments(
    wait=lambda result: None,
    compile=lambda function, arrays: function,
    pull=None,
    device_memory=lambda call, device: None,
    gpu=lambda: "",
    rivals=(products.rival(head_by_head), *published.rivals()),
)
