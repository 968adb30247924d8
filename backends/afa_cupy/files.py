"""Reading and writing layers over CuPy arrays."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from afa_core.layer import Layer
from afa_core.layer import layers as layers_of
from afa_core.layer.files import FilePath, LoadedLayers, read_arrays, single_layer, write_layers


def load(path: FilePath) -> Layer:
    """Read a file of one layer, over CuPy arrays on the current device.

    Takes the arguments of `afa_numpy.load`, and raises its errors.
    """
    return single_layer(load_layers(path), path)


def load_layers(path: FilePath) -> LoadedLayers:
    """Read a file of a model, over CuPy arrays; see `afa_numpy.load_layers`."""
    described, arrays = read_arrays(path, "np")
    on_device = import_module("cupy").asarray
    return layers_of(described, {name: on_device(x) for name, x in arrays.items()})


def save(
    path: FilePath, layers: Mapping[str, Layer], others: Mapping[str, Any] | None = None
) -> None:
    """Write layers over CuPy arrays to a file, completely or not at all; see `afa_numpy.save`."""
    write_layers(path, layers, others, import_module("cupy").asnumpy)
