"""Files of layers are checked whatever they contain, in memory in proportion to their size."""

import tracemalloc

import numpy as np
import pytest

from afa_core.layer import Settings, layers, metadata

HUGE = 10**9
MEBIBYTE = 2**20


@pytest.mark.parametrize(
    ("settings", "arrays", "message"),
    [
        (Settings(1, 10**6, 10**6, 10**6), (), "`query_weight` is missing"),
        (Settings(1, 1, 1, HUGE, value_rotation=False), ("query", "key"), "`value_weight`"),
        (Settings(1, 1, 1, 1, value_features=HUGE), ("query", "key"), "`value_weight`"),
        (Settings(1, HUGE, 1, 1, kv_heads=1), (), "`query_weight`"),
    ],
)
def test_a_small_file_takes_little_memory(settings, arrays, message):
    """Settings name a layer of any size: the values of a parameter are made after its weight."""
    parts = {"weight": (2, 1), "bias": (2,)}
    given = {f"{name}_{part}": np.zeros(parts[part]) for name in arrays for part in parts}
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message):
            layers(metadata({"": settings}), given)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MEBIBYTE
