"""The file format of layers: arrays by name, and the settings of the layers as metadata.

A file of the safetensors format contains the arrays of a layer, or of a model with several layers,
each under its own prefix. Its metadata are

    format    ``afa-core layers``
    version   ``1``
    layers    JSON, from the prefix of every layer to its settings

from which every library can rebuild the layers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from afa_core._array.arrays import dtype_name
from afa_core.layer.parameters import check_fixed, iterate_initial
from afa_core.layer.settings import Settings
from afa_core.layer.value import Layer

FORMAT, VERSION = "afa-core layers", "1"

DTYPES = ("float64", "float32", "float16", "bfloat16")
"""Of the arrays of a layer."""


def metadata(settings: Mapping[str, Settings]) -> dict[str, str]:
    """Return the metadata of a file with layers under these prefixes, ``""`` for a single layer.

    Raises
    ------
    ValueError
        If a prefix does not end in a dot.
    """
    _check_prefixes(settings)
    layers = json.dumps({prefix: layer._asdict() for prefix, layer in settings.items()})
    return {"format": FORMAT, "version": VERSION, "layers": layers}


def layers(
    described: Mapping[str, str] | None, arrays: Mapping[str, Any]
) -> tuple[dict[str, Layer], dict[str, Any]]:
    """Return the layers of a file by prefix, and the arrays that belong to no layer.

    Parameters
    ----------
    described : mapping or None
        The metadata of the file.
    arrays : mapping
        All its arrays by name.

    Raises
    ------
    ValueError
        If the file has another format or version, its settings are invalid, or an array of a
        layer is missing, unexpected, or of the wrong shape or dtype.
    """
    settings = read_settings(described)
    parameters: dict[str, dict[str, Any]] = {prefix: {} for prefix in settings}
    others: dict[str, Any] = {}
    for name, x in arrays.items():
        prefix = name[: name.rfind(".") + 1]
        if prefix in parameters:
            parameters[prefix][name.removeprefix(prefix)] = x
        else:
            others[name] = x
    for prefix, each in settings.items():
        check_arrays(parameters[prefix], each, prefix)
    found = {prefix: Layer(each, parameters[prefix]) for prefix, each in settings.items()}
    if "" in found and others:
        msg = (
            f"the file must hold nothing but the layer, got also {sorted(others)}. Its settings "
            "have no such parameters: load the file the weights were saved in."
        )
        raise ValueError(msg)
    return found, others


def read_settings(described: Mapping[str, str] | None) -> dict[str, Settings]:
    """Return the settings of the layers of a file by prefix, from the metadata of the file.

    Raises
    ------
    ValueError
        If the file has another format or version, or the prefixes or settings are invalid.
    """
    described = described or {}
    if described.get("format") != FORMAT:
        msg = (
            f"the file must be of the format {FORMAT!r}, got {described.get('format')!r}. Save "
            "layers with the `save` of afa_torch, afa_jax or afa_numpy."
        )
        raise ValueError(msg)
    if described.get("version") != VERSION:
        msg = (
            f"the file must be of version {VERSION!r} of {FORMAT!r}, got "
            f"{described.get('version')!r}. Load it with the release that wrote it, and save again."
        )
        raise ValueError(msg)
    try:
        fields: dict[str, dict[str, Any]] = json.loads(described["layers"])
        settings = {prefix: _settings(each) for prefix, each in fields.items()}
        for each in settings.values():
            each.validate()
    except (KeyError, TypeError, AttributeError, RecursionError, json.JSONDecodeError) as error:
        reason = str(error).removesuffix(".")
        msg = f"the settings of the layers cannot be read: {reason}. The file is damaged."
        raise ValueError(msg) from error
    _check_prefixes(settings)
    return settings


def check_same_layers(stored: Mapping[str, Settings], model: Mapping[str, Settings]) -> None:
    """Raise ValueError unless a file and a model have the same layers, by prefix.

    The settings of each layer must be equal, except for the parameters that are not trained
    (``fixed``).
    """
    for prefix in sorted(set(stored) ^ set(model)):
        present, absent = ("file", "model") if prefix in stored else ("model", "file")
        msg = (
            f"the {absent} must have a layer under {prefix!r}, as the {present} has, got layers "
            f"under {sorted(model if absent == 'model' else stored)}. Make the model with the "
            "layers of the file, under the same names."
        )
        raise ValueError(msg)
    for prefix, settings in stored.items():
        other = model[prefix]._replace(fixed=settings.fixed)
        for name, expected, arrived in zip(Settings._fields, settings, other, strict=True):
            if arrived != expected:
                msg = (
                    f"the layer under {prefix!r} must have {name}={expected!r}, as in the file, "
                    f"got {arrived!r}. Make it from the settings of the file."
                )
                raise ValueError(msg)


def check_parameters(
    parameters: Mapping[str, Any], settings: Settings, kind: type[Any], described: str, load: str
) -> None:
    """Raise unless parameters are arrays of one library and fit a layer.

    Parameters
    ----------
    parameters : mapping of str to array
    settings : Settings
    kind : type
        The type of the library's arrays.
    described : str
        The type with its article, for the message.
    load : str
        The function that reads layers over such arrays, for the message.

    Raises
    ------
    TypeError
        If a parameter is not of this type.
    ValueError
        If a parameter is missing, unexpected, or of the wrong shape or dtype.
    """
    for name, x in parameters.items():
        if not isinstance(x, kind):
            msg = (
                f"`{name}` must be {described}, got {type(x).__name__}. Convert it, or load the "
                f"layer with `{load}`."
            )
            raise TypeError(msg)
    check_arrays(parameters, settings)


def check_arrays(parameters: Mapping[str, Any], settings: Settings, prefix: str = "") -> None:
    """Raise ValueError unless parameters have the names, shapes and dtypes of those of a layer.

    The message names the first that is missing, unexpected, or of the wrong shape or dtype.
    """
    names = []
    for name, each in iterate_initial(settings):
        names.append(name)
        if name not in parameters:
            msg = (
                f"`{prefix}{name}` is missing, of shape {each.shape}. It belongs to a layer of "
                f"form {settings.form!r} with these settings: load the file they were saved in."
            )
            raise ValueError(msg)
        shape = tuple(parameters[name].shape)
        if shape != each.shape:
            msg = (
                f"`{prefix}{name}` must have shape {each.shape}, got {shape}. The settings "
                "are those of another layer: use the ones these weights were saved with."
            )
            raise ValueError(msg)
        if dtype_name(parameters[name].dtype) not in DTYPES:
            msg = (
                f"`{prefix}{name}` must be of one of the dtypes {', '.join(DTYPES)}, got "
                f"{dtype_name(parameters[name].dtype)}. Convert it, and save the layer again."
            )
            raise ValueError(msg)
    check_fixed(settings, names)
    if unknown := sorted(set(parameters) - set(names)):
        msg = (
            f"`{prefix}{unknown[0]}` is no parameter of a layer of form {settings.form!r} with "
            f"these settings, which has {', '.join(names)}."
        )
        raise ValueError(msg)


def _check_prefixes(prefixes: Iterable[str]) -> None:
    for prefix in prefixes:
        if prefix and not prefix.endswith("."):
            msg = (
                "`layers` must be under prefixes that end in a dot, or under '' for a single one, "
                f"got {prefix!r}. Name it {prefix + '.'!r}."
            )
            raise ValueError(msg)


def _settings(fields: Mapping[str, Any]) -> Settings:
    values: Any = {name: tuple(x) if isinstance(x, list) else x for name, x in fields.items()}
    return Settings(**values)
