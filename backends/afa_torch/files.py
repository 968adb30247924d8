"""Layers of PyTorch in files: whole modules, in the format of `afa_core.layer.format`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from afa_core.layer import Layer, Settings, metadata
from afa_core.layer import layers as layers_of
from afa_core.layer.atomic import write_whole
from afa_core.layer.format import check_same
from afa_core.layer.format import read as read_settings
from afa_numpy.files import Where, read, safetensors_library
from afa_torch.layer import AdaptiveFilterAttention


def save(path: Where, module: nn.Module) -> None:
    """Write a module with the settings of its layers to a file, at once or not at all.

    Parameters
    ----------
    path : str or path
    module : Module
        A layer, or a model with layers anywhere in it. What `DistributedDataParallel` or
        `torch.compile` wrap is to be saved itself, as they rename all it has.

    Raises
    ------
    ImportError
        If safetensors is not installed.
    TypeError
        If a part of its state is no tensor.
    OSError
        If the file cannot be written; then the old one is left.
    """
    files = safetensors_library("safetensors.torch")
    described = metadata(_settings_in(module))
    arrays = dict(_apart(module.state_dict()))
    write_whole(Path(path), lambda to: files.save_file(arrays, to, described))


def load(path: Where, *, device: Any = "cpu") -> AdaptiveFilterAttention:
    """Read a file of one layer.

    Parameters
    ----------
    path : str or path
    device : device

    Returns
    -------
    AdaptiveFilterAttention
        In the dtypes of the file.

    Raises
    ------
    ImportError
        If safetensors is not installed.
    ValueError
        If the file is of another kind or version, an array is missing, misshapen or one too many,
        or there is not one layer alone.
    """
    found, _ = load_layers(path, device=device)
    if set(found) != {""}:
        msg = (
            f"`path` must be a file of one layer, got {path} with layers under "
            f"{', '.join(map(repr, found)) or 'no prefix'}. Make the model they are of and use "
            "`load_into`, or read them with `load_layers`."
        )
        raise ValueError(msg)
    return AdaptiveFilterAttention.from_layer(found[""])


def load_layers(path: Where, *, device: Any = "cpu") -> tuple[dict[str, Layer], dict[str, Tensor]]:
    """Read a file of a model without its module; takes the arguments of `load`.

    Returns
    -------
    layers : dict of str to Layer
        By prefix.
    others : dict of str to Tensor
        All that belongs to no layer.

    Raises
    ------
    ImportError, ValueError
        As `load` does.
    """
    return layers_of(*_read(path, device))


def load_into(path: Where, module: nn.Module) -> None:
    """Read a file into the module that it was saved from, or one made alike.

    Parameters
    ----------
    path : str or path
    module : Module
        Keeps its devices and dtypes, and which parameters it trains.

    Raises
    ------
    ImportError
        If safetensors is not installed.
    ValueError
        If the file is of another kind or version, or has other layers, settings or arrays than
        the module, which is then left as it is.
    """
    described, arrays = _read(path, "cpu")
    check_same(read_settings(described), _settings_in(module))
    own = module.state_dict()
    for name in sorted(set(own) ^ set(arrays)):
        here, there = ("file", "module") if name in arrays else ("module", "file")
        msg = (
            f"the {there} must have {name!r}, as the {here} has. Make the module as it was when "
            f"it was saved to {path}."
        )
        raise ValueError(msg)
    for name, x in own.items():
        if x.shape != arrays[name].shape:
            msg = (
                f"{name!r} must have the shape {tuple(arrays[name].shape)} that it has in {path}, "
                f"got {tuple(x.shape)}. Make the module with the sizes of the file."
            )
            raise ValueError(msg)
    module.load_state_dict(arrays)


def _settings_in(module: nn.Module) -> dict[str, Settings]:
    """Return the settings of all layers in a module by prefix, twice for one under two names."""
    return {
        f"{name}." if name else "": each.settings
        for name, each in module.named_modules(remove_duplicate=False)
        if isinstance(each, AdaptiveFilterAttention)
    }


def _apart(state: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """Yield tensors that share no memory, as the format has it."""
    seen: set[int] = set()
    for name, x in state.items():
        if not isinstance(x, Tensor):
            msg = (
                f"{name!r} must be a tensor to be saved, got {type(x).__name__}. Save the module "
                "without its extra state."
            )
            raise TypeError(msg)
        own = x.detach().contiguous()
        memory = own.untyped_storage().data_ptr()
        yield name, own.clone() if memory in seen else own
        seen.add(memory)


def _read(path: Where, device: Any) -> tuple[Mapping[str, str] | None, dict[str, Tensor]]:
    """Return the metadata of a file and its arrays."""
    safetensors_library("safetensors.torch")
    return read(path, "pt", device=str(device))
