"""Layers in files, over CuPy's arrays."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from afa_core.layer import Layer
from afa_core.layer import layers as layers_of
from afa_numpy.files import Loaded, Where, alone, read, write


def load(path: Where) -> Layer:
    """Read a file of one layer, over CuPy arrays on the current device.

    Takes the arguments of `afa_numpy.load`, and raises its errors.
    """
    return alone(load_layers(path), path)


def load_layers(path: Where) -> Loaded:
    """Read a file of a model, over CuPy arrays; see `afa_numpy.load_layers`."""
    described, arrays = read(path, "np")
    on_device = import_module("cupy").asarray
    return layers_of(described, {name: on_device(x) for name, x in arrays.items()})


def save(path: Where, layers: Mapping[str, Layer], others: Mapping[str, Any] | None = None) -> None:
    """Write layers over CuPy arrays to a file, at once or not at all; see `afa_numpy.save`."""
    write(path, layers, others, import_module("cupy").asnumpy)
