"""Reading and writing PyTorch modules, in the format of `afa_core.layer.format`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from afa_core.layer import Layer, Settings, initial, metadata
from afa_core.layer import layers as layers_of
from afa_core.layer.atomic import write_whole
from afa_core.layer.files import FilePath, read_arrays, safetensors_library, single_layer
from afa_core.layer.format import check_arrays, check_same_layers, read_settings
from afa_torch.layer import AdaptiveFilterAttention
from afa_torch.projections import check_linear, state_name


def save(path: FilePath, module: nn.Module) -> None:
    """Write a module and the settings of its layers to a file, completely or not at all.

    Parameters
    ----------
    path : str or path
    module : Module
        A layer, or a model that contains layers. Of a model wrapped by `DistributedDataParallel`
        or `torch.compile`, which rename its parameters, pass the original module.

    Raises
    ------
    ImportError
        If safetensors is not installed.
    TypeError
        If an entry of the module's state is not a tensor, or a projection of a layer is no
        ``nn.Linear``, such as one with an adapter.
    ValueError
        If a projection is parametrised, so that its state has no weight.
    OSError
        If the file cannot be written, and an old file is then unchanged, or `path` is a device.
    """
    safetensors = safetensors_library("safetensors.torch")
    layers = _layers_in(module)
    for layer in layers.values():
        check_linear(layer)
    described = metadata(_settings_of(layers))
    names = _names_in_files(layers)
    state = {names.get(name, name): x for name, x in module.state_dict().items()}
    _check_complete(layers, state)
    arrays = dict(_without_shared_memory(state))
    write_whole(Path(path), lambda partial: safetensors.save_file(arrays, partial, described))


def load(path: FilePath, *, device: Any = "cpu") -> AdaptiveFilterAttention:
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
        If the file has another format or version, an array is missing, unexpected, or of the
        wrong shape or dtype, or the file does not contain exactly one layer.
    """
    advice = "Build their model and use `load_into`, or read them with `load_layers`."
    layer = single_layer(load_layers(path, device=device), path, advice)
    return AdaptiveFilterAttention.from_layer(layer)


def load_layers(
    path: FilePath, *, device: Any = "cpu"
) -> tuple[dict[str, Layer], dict[str, Tensor]]:
    """Read a file of a model as layers and tensors; takes the arguments of `load`.

    Returns
    -------
    layers : dict of str to Layer
        By prefix.
    others : dict of str to Tensor
        All tensors that belong to no layer.

    Raises
    ------
    ImportError, ValueError
        As `load` does.
    """
    return layers_of(*_read(path, device))


def load_into(path: FilePath, module: nn.Module) -> None:
    """Read a file into the module that it was saved from, or one of the same structure.

    Parameters
    ----------
    path : str or path
    module : Module
        Keeps its devices, its dtypes, and which of its parameters are trained.

    Raises
    ------
    ImportError
        If safetensors is not installed.
    ValueError
        If the file has another format or version, or the layers, settings or arrays of the file
        and of the module differ; the module is then unchanged.
    """
    described, arrays = _read(path, "cpu")
    layers = _layers_in(module)
    check_same_layers(read_settings(described), _settings_of(layers))
    names = _names_in_files(layers)
    state = {names.get(name, name): x for name, x in module.state_dict().items()}
    for name in sorted(set(state) ^ set(arrays)):
        present, absent = ("file", "module") if name in arrays else ("module", "file")
        msg = (
            f"the {absent} must have {name!r}, as the {present} has. Make the module as it was "
            f"when it was saved to {path}."
        )
        raise ValueError(msg)
    for name, x in state.items():
        if x.shape != arrays[name].shape:
            msg = (
                f"{name!r} must have the shape {tuple(arrays[name].shape)} that it has in {path}, "
                f"got {tuple(x.shape)}. Make the module with the sizes of the file."
            )
            raise ValueError(msg)
    for prefix, layer in layers.items():
        own = {name: arrays[f"{prefix}{name}"] for name in initial(layer.settings)}
        check_arrays(own, layer.settings, prefix)
    module.load_state_dict(arrays)


def _layers_in(module: nn.Module) -> dict[str, AdaptiveFilterAttention]:
    """Return all layers of a module by prefix; a shared layer has several."""
    return {
        f"{name}." if name else "": submodule
        for name, submodule in module.named_modules(remove_duplicate=False)
        if isinstance(submodule, AdaptiveFilterAttention)
    }


def _settings_of(layers: Mapping[str, AdaptiveFilterAttention]) -> dict[str, Settings]:
    return {prefix: layer.settings for prefix, layer in layers.items()}


def _names_in_files(layers: Mapping[str, AdaptiveFilterAttention]) -> dict[str, str]:
    """Return the names of parameters in files by their names in states, where these differ."""
    return {
        f"{prefix}{state_name(name)}": f"{prefix}{name}"
        for prefix, layer in layers.items()
        for name in initial(layer.settings)
    }


def _check_complete(
    layers: Mapping[str, AdaptiveFilterAttention], state: Mapping[str, Any]
) -> None:
    """Raise ValueError unless a state has all parameters of the layers."""
    for prefix, layer in layers.items():
        for name in initial(layer.settings):
            if f"{prefix}{name}" not in state:
                msg = (
                    f"`module` must have {prefix}{state_name(name)} in its state, got one that "
                    "is computed from others. Remove the parametrisation, by "
                    "`torch.nn.utils.parametrize.remove_parametrizations`, `remove_weight_norm` or "
                    "`prune.remove`, or save the state of the module."
                )
                raise ValueError(msg)


def _without_shared_memory(state: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """Yield tensors by name, copied where they share memory, as the format requires."""
    addresses: set[int] = set()
    for name, x in state.items():
        if not isinstance(x, Tensor):
            msg = (
                f"{name!r} must be a tensor to be saved, got {type(x).__name__}. Save the module "
                "without its extra state."
            )
            raise TypeError(msg)
        tensor = x.detach().contiguous()
        address = tensor.untyped_storage().data_ptr()
        yield name, tensor.clone() if address in addresses else tensor
        addresses.add(address)


def _read(path: FilePath, device: Any) -> tuple[Mapping[str, str] | None, dict[str, Tensor]]:
    """Return the metadata and the tensors of a file."""
    safetensors_library("safetensors.torch")
    return read_arrays(path, "pt", device=str(device))
