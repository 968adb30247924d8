"""Files of layers are checked whatever they contain, in memory in proportion to their size."""

import json
import tracemalloc
from importlib import import_module

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


def write(path, layer, **changes):
    """Write a file of one layer of float32; changes are dtypes of arrays with their bytes."""
    arrays = {name: ("F32", x.tobytes()) for name, x in layer.parameters.items()} | changes
    header, end = {"__metadata__": metadata({"": layer.settings})}, 0
    for name, (dtype, data) in arrays.items():
        start, end = end, end + len(data)
        shape = layer.parameters[name].shape
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": (start, end)}
    described = json.dumps(header).encode()
    parts = len(described).to_bytes(8, "little"), described, *(data for _, data in arrays.values())
    path.write_bytes(b"".join(parts))


@pytest.mark.parametrize("library", ["numpy", "jax"])
@pytest.mark.parametrize(
    ("dtype", "width", "name"),
    [
        ("BOOL", 1, "bool"),
        ("I32", 4, "int32"),
        ("C64", 8, "complex64"),
        ("F8_E4M3", 1, "F8_E4M3"),
        ("F8_E5M2", 1, "F8_E5M2"),
    ],
)
def test_arrays_of_other_dtypes(library, dtype, width, name, make_layer, host, tmp_path):
    """The error names an array that is not floating, or of a dtype that NumPy lacks."""
    pytest.importorskip("safetensors")
    host(library)
    path, layer = tmp_path / "layer.safetensors", make_layer("isotropic", "float32")
    write(path, layer, raw_decay=(dtype, bytes(2 * width)))
    with pytest.raises(ValueError, match=rf"`raw_decay` must be of .*, got {name}\."):
        import_module(f"afa_{library}").load(path)
    write(path, layer)
    assert import_module(f"afa_{library}").load(path).settings == layer.settings
