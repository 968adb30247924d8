"""Layers in files, over NumPy's arrays; `read` serves all libraries, `write` JAX and CuPy too."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

from afa_core.layer import Layer, metadata
from afa_core.layer import layers as layers_of
from afa_core.layer.atomic import write_whole

Where: TypeAlias = str | PathLike[str]
Loaded: TypeAlias = tuple[dict[str, Layer], dict[str, Any]]


def load(path: Where) -> Layer:
    """Read a file of one layer, over NumPy arrays.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    Layer
        Its arrays have the dtypes of the file; bfloat16 becomes float32, which holds it exactly.

    Raises
    ------
    ImportError
        If safetensors is not installed.
    ValueError
        If the file is of another kind or version, an array is missing, misshapen or one too many,
        or there is not one layer alone.
    """
    return alone(load_layers(path), path)


def load_layers(path: Where) -> Loaded:
    """Read a file of a model, over NumPy arrays; raises the errors of `load`.

    Returns
    -------
    layers : dict of str to Layer
        By prefix.
    others : dict of str to array
        All arrays that belong to no layer.
    """
    described, arrays = read(path, "np")
    return layers_of(described, arrays)


def save(path: Where, layers: Mapping[str, Layer], others: Mapping[str, Any] | None = None) -> None:
    """Write layers to a file, at once or not at all.

    Parameters
    ----------
    path : str or path
    layers : mapping of str to Layer
        Over NumPy arrays, by prefix; ``""`` for one alone.
    others : mapping of str to array, or None
        Further arrays of a model, of other names.

    Raises
    ------
    ImportError
        If safetensors is not installed.
    ValueError
        If a layer's arrays are not those of its settings, or a name belongs to two arrays.
    """
    write(path, layers, others, to_numpy)


def alone(loaded: Loaded, path: Where) -> Layer:
    """Return the layer of a file that holds no other."""
    found, _ = loaded
    if set(found) != {""}:
        msg = (
            f"`path` must be a file of one layer, got {path} with layers under "
            f"{', '.join(map(repr, found)) or 'no prefix'}. Read it with `load_layers`."
        )
        raise ValueError(msg)
    return found[""]


def to_numpy(x: Any) -> Any:
    """Return what NumPy makes of an array."""
    return import_module("numpy").asarray(x)


def read(
    path: Where, framework: str, **options: Any
) -> tuple[Mapping[str, str] | None, dict[str, Any]]:
    """Return the metadata of a file and its arrays, ``"np"``, ``"flax"`` or ``"pt"``."""
    safetensors = safetensors_library()
    try:
        with safetensors.safe_open(path, framework=framework, **options) as file:
            names = list(file.keys())
            bfloat16 = [name for name in names if file.get_slice(name).get_dtype() == "BF16"]
            found = _widened(path, bfloat16) if framework == "np" and bfloat16 else {}
            found |= {name: file.get_tensor(name) for name in names if name not in found}
            return file.metadata(), found
    except safetensors.SafetensorError as error:
        msg = (
            f"`path` must be a file of the safetensors format, got {path}: {error}. The file is of "
            "another kind, or damaged."
        )
        raise ValueError(msg) from error


def write(
    path: Where,
    layers: Mapping[str, Layer],
    others: Mapping[str, Any] | None,
    to_numpy: Callable[[Any], Any],
) -> None:
    """Write layers, and other arrays, by way of NumPy."""
    safetensors_library()
    numpy, files = import_module("numpy"), import_module("safetensors.numpy")
    own = {
        f"{prefix}{name}": x
        for prefix, each in layers.items()
        for name, x in each.parameters.items()
    }
    others = others or {}
    if both := sorted(set(own) & set(others)):
        msg = f"`others` must not have the names of a layer's arrays, got {both}. Rename them."
        raise ValueError(msg)
    # the library writes memory as it lies, whatever the strides
    arrays = {name: numpy.asarray(to_numpy(x), order="C") for name, x in {**own, **others}.items()}
    described = metadata({prefix: each.settings for prefix, each in layers.items()})
    layers_of(described, arrays)  # raises what reading would
    write_whole(Path(path), lambda to: files.save_file(arrays, to, described))


def _widened(path: Where, names: Collection[str]) -> dict[str, Any]:
    """Return arrays of bfloat16, which NumPy has not, in float32, which holds them exactly."""
    numpy, raw = import_module("numpy"), safetensors_library().deserialize(Path(path).read_bytes())

    def widened(x: Mapping[str, Any]) -> Any:
        bits = numpy.frombuffer(x["data"], dtype="<u2").astype("<u4") << 16
        return bits.view("<f4").reshape(x["shape"])

    return {name: widened(x) for name, x in raw if name in names}


def safetensors_library(name: str = "safetensors") -> Any:
    """Return the library of the format; raise ImportError saying how to install it."""
    try:
        return import_module(name)
    except ImportError as error:
        msg = (
            "files of layers need the library safetensors, which is not installed: "
            "pip install 'afa-core[layers]'"
        )
        raise ImportError(msg) from error
