"""Reading and writing layers over JAX arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from afa_core.layer import Layer
from afa_core.layer import layers as layers_of
from afa_core.layer.files import (
    FilePath,
    LoadedLayers,
    read_arrays,
    single_layer,
    to_numpy,
    write_layers,
)


def load(path: FilePath) -> Layer:
    """Read a file of one layer, over JAX arrays on the default device.

    Takes the arguments of `afa_numpy.load`, and raises its errors. Double precision becomes
    single unless ``jax_enable_x64`` is set; bfloat16 stays.
    """
    return single_layer(load_layers(path), path)


def load_layers(path: FilePath) -> LoadedLayers:
    """Read a file of a model, over JAX arrays; see `afa_numpy.load_layers`."""
    return layers_of(*read_arrays(path, "flax"))


def save(
    path: FilePath, layers: Mapping[str, Layer], others: Mapping[str, Any] | None = None
) -> None:
    """Write layers over JAX arrays to a file, completely or not at all; see `afa_numpy.save`."""
    write_layers(path, layers, others, to_numpy)
