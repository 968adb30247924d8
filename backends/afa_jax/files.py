"""Layers in files, over JAX's arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from afa_core.layer import Layer
from afa_core.layer import layers as layers_of
from afa_numpy.files import Loaded, Where, alone, read, to_numpy, write


def load(path: Where) -> Layer:
    """Read a file of one layer, over JAX arrays on the default device.

    Takes the arguments of `afa_numpy.load`, and raises its errors. Without ``jax_enable_x64``
    double precision becomes single; bfloat16 stays.
    """
    return alone(load_layers(path), path)


def load_layers(path: Where) -> Loaded:
    """Read a file of a model, over JAX arrays; see `afa_numpy.load_layers`."""
    return layers_of(*read(path, "flax"))


def save(path: Where, layers: Mapping[str, Layer], others: Mapping[str, Any] | None = None) -> None:
    """Write layers over JAX arrays to a file, at once or not at all; see `afa_numpy.save`."""
    write(path, layers, others, to_numpy)
