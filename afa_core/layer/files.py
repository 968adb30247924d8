"""Reading and writing layers in files of the safetensors format, for all array libraries.

`afa_core.layer.format` describes the format. NumPy and safetensors are imported when a file is
read or written.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

from afa_core.layer.atomic import write_whole
from afa_core.layer.format import layers as layers_of
from afa_core.layer.format import metadata
from afa_core.layer.value import Layer

FilePath: TypeAlias = str | PathLike[str]
LoadedLayers: TypeAlias = tuple[dict[str, Layer], dict[str, Any]]
"""The layers of a file by prefix, and the arrays that belong to no layer by name."""


def read_arrays(
    path: FilePath, framework: str, **options: Any
) -> tuple[Mapping[str, str] | None, dict[str, Any]]:
    """Return the metadata and the arrays of a file.

    Parameters
    ----------
    path : str or path
    framework : {"np", "flax", "pt"}
        The library of the arrays, as `safetensors.safe_open` names it. For NumPy, which has no
        bfloat16, arrays of that dtype become float32.
    **options
        Further arguments of `safetensors.safe_open`, such as ``device``.

    Returns
    -------
    metadata : mapping of str to str, or None
    arrays : dict of str to array

    Raises
    ------
    ImportError
        If safetensors is not installed.
    ValueError
        If the file is not in the safetensors format, or an array has a dtype that the library
        lacks.
    """
    safetensors = safetensors_library()
    try:
        with safetensors.safe_open(path, framework=framework, **options) as file:
            names = list(file.keys())
            bfloat16 = [name for name in names if file.get_slice(name).get_dtype() == "BF16"]
            arrays = _read_bfloat16(path, bfloat16) if framework == "np" and bfloat16 else {}
            arrays |= {name: _read(file, name) for name in names if name not in arrays}
            return file.metadata(), arrays
    except safetensors.SafetensorError as error:
        msg = (
            f"`path` must be a file of the safetensors format, got {path}: {error}. The file is of "
            "another kind, or damaged."
        )
        raise ValueError(msg) from error


def write_layers(
    path: FilePath,
    layers: Mapping[str, Layer],
    others: Mapping[str, Any] | None,
    to_numpy: Callable[[Any], Any],
) -> None:
    """Write layers and other arrays to a file by way of NumPy, completely or not at all.

    Parameters
    ----------
    path : str or path
    layers : mapping of str to Layer
        By prefix; ``""`` for a single layer.
    others : mapping of str to array, or None
        Arrays that belong to no layer, under other names.
    to_numpy : callable
        Converts an array of the library to NumPy.

    Raises
    ------
    ImportError
        If safetensors is not installed.
    ValueError
        If a layer's arrays do not match its settings, or two arrays have the same name.
    """
    safetensors_library()
    numpy, safetensors = import_module("numpy"), import_module("safetensors.numpy")
    parameters = {
        f"{prefix}{name}": x
        for prefix, layer in layers.items()
        for name, x in layer.parameters.items()
    }
    others = others or {}
    if both := sorted(set(parameters) & set(others)):
        msg = f"`others` must not have the names of a layer's arrays, got {both}. Rename them."
        raise ValueError(msg)
    # safetensors writes memory as it is laid out and ignores strides
    arrays = {
        name: numpy.asarray(to_numpy(x), order="C") for name, x in {**parameters, **others}.items()
    }
    described = metadata({prefix: layer.settings for prefix, layer in layers.items()})
    layers_of(described, arrays)  # raises the errors of reading the file
    write_whole(Path(path), lambda partial: safetensors.save_file(arrays, partial, described))


def single_layer(
    loaded: LoadedLayers, path: FilePath, advice: str = "Read it with `load_layers`."
) -> Layer:
    """Return the layer of a file that contains exactly one, under no prefix.

    Raises
    ------
    ValueError
        If the file contains other layers; the message ends with `advice`.
    """
    layers, _ = loaded
    if set(layers) != {""}:
        msg = (
            f"`path` must be a file of one layer, got {path} with layers under "
            f"{', '.join(map(repr, layers)) or 'no prefix'}. {advice}"
        )
        raise ValueError(msg)
    return layers[""]


def to_numpy(x: Any) -> Any:
    """Return an array as NumPy's."""
    return import_module("numpy").asarray(x)


def safetensors_library(name: str = "safetensors") -> Any:
    """Return a module of the safetensors library; ImportError says how to install it."""
    try:
        return import_module(name)
    except ImportError as error:
        msg = (
            "files of layers need the library safetensors, which is not installed: "
            "pip install 'afa-core[layers]'"
        )
        raise ImportError(msg) from error


def _read(file: Any, name: str) -> Any:
    """Return an array of an open file."""
    try:
        return file.get_tensor(name)
    except AttributeError as error:  # safetensors looks the dtype up by its name
        msg = (
            f"`{name}` must be of a dtype that the library has, got "
            f"{file.get_slice(name).get_dtype()}. Read the file with PyTorch, which has most."
        )
        raise ValueError(msg) from error


def _read_bfloat16(path: FilePath, names: Collection[str]) -> dict[str, Any]:
    """Return arrays of bfloat16 as float32 of NumPy, which represents them exactly."""
    numpy = import_module("numpy")
    stored = safetensors_library().deserialize(Path(path).read_bytes())

    def widened(x: Mapping[str, Any]) -> Any:
        bits = numpy.frombuffer(x["data"], dtype="<u2").astype("<u4") << 16
        return bits.view("<f4").reshape(x["shape"])

    return {name: widened(x) for name, x in stored if name in names}
