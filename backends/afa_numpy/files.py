"""Reading and writing layers over NumPy arrays."""

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
    """Read a file of one layer, over NumPy arrays.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    Layer
        Its arrays have the dtypes of the file; bfloat16 becomes float32, which represents it
        exactly.

    Raises
    ------
    ImportError
        If safetensors is not installed.
    ValueError
        If the file has another format or version, an array is missing, unexpected, or of the
        wrong shape or dtype, or the file does not contain exactly one layer.
    """
    return single_layer(load_layers(path), path)


def load_layers(path: FilePath) -> LoadedLayers:
    """Read a file of a model, over NumPy arrays; raises the errors of `load`.

    Returns
    -------
    layers : dict of str to Layer
        By prefix.
    others : dict of str to array
        All arrays that belong to no layer.
    """
    return layers_of(*read_arrays(path, "np"))


def save(
    path: FilePath, layers: Mapping[str, Layer], others: Mapping[str, Any] | None = None
) -> None:
    """Write layers to a file, completely or not at all.

    Parameters
    ----------
    path : str or path
    layers : mapping of str to Layer
        Over NumPy arrays, by prefix; ``""`` for a single layer.
    others : mapping of str to array, or None
        Further arrays of a model, under other names.

    Raises
    ------
    ImportError
        If safetensors is not installed.
    ValueError
        If a layer's arrays do not match its settings, or two arrays have the same name.
    """
    write_layers(path, layers, others, to_numpy)
