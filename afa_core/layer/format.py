"""How layers are kept in files: arrays by name, and what they are in the file's metadata.

A file of the safetensors format holds the arrays of a layer, or of a model with several, each
layer's under a prefix, and in its metadata

    format    ``afa-core layers``
    version   ``1``
    layers    JSON, from the prefix of every layer to its settings

so that any library can make the layers again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from afa_core.layer.parameters import initial
from afa_core.layer.settings import Settings
from afa_core.layer.value import Layer

FORMAT, VERSION = "afa-core layers", "1"


def metadata(settings: Mapping[str, Settings]) -> dict[str, str]:
    """Return the metadata of a file with the layers of these prefixes, ``""`` for one alone.

    Raises
    ------
    ValueError
        If a prefix does not end in a dot.
    """
    for prefix in settings:
        if prefix and not prefix.endswith("."):
            msg = (
                "`layers` must be under prefixes that end in a dot, or under '' for one alone, "
                f"got {prefix!r}. Name it {prefix + '.'!r}."
            )
            raise ValueError(msg)
    layers = json.dumps({prefix: each._asdict() for prefix, each in settings.items()})
    return {"format": FORMAT, "version": VERSION, "layers": layers}


def layers(
    described: Mapping[str, str] | None, arrays: Mapping[str, Any]
) -> tuple[dict[str, Layer], dict[str, Any]]:
    """Return the layers of a file by prefix, and the arrays that are none of theirs.

    Parameters
    ----------
    described : mapping or None
        The metadata of the file.
    arrays : mapping
        All its arrays by name.

    Raises
    ------
    ValueError
        If the file is of another kind or version, its settings are none, or an array of a layer
        is missing, of another shape, or one too many.
    """
    rest, found = dict(arrays), {}
    for prefix, settings in read(described).items():
        expected = initial(settings)
        own = {name: rest.pop(name) for name in arrays if _belongs(name, prefix, expected)}
        parameters = {name.removeprefix(prefix): x for name, x in own.items()}
        check({name: tuple(x.shape) for name, x in parameters.items()}, settings, prefix)
        found[prefix] = Layer(settings, parameters)
    if "" in found and rest:
        msg = (
            f"the file must hold nothing but the layer, got also {sorted(rest)}. Its settings have "
            "no such parameters: load the file the weights were saved in."
        )
        raise ValueError(msg)
    return found, rest


def read(described: Mapping[str, str] | None) -> dict[str, Settings]:
    """Return the settings of the layers of a file by prefix.

    Raises
    ------
    ValueError
        If it is of another kind or version, or the settings are none.
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
        written: dict[str, dict[str, Any]] = json.loads(described["layers"])
        settings = {prefix: _settings(each) for prefix, each in written.items()}
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        msg = f"the settings of the layers cannot be read: {error}. The file is damaged."
        raise ValueError(msg) from error
    for each in settings.values():
        each.validate()
    return settings


def check_same(found: Mapping[str, Settings], asked: Mapping[str, Settings]) -> None:
    """Raise ValueError unless a file has the layers of a model, by prefix, with their settings.

    What training leaves alone (``fixed``) may differ.
    """
    for prefix in sorted(set(found) ^ set(asked)):
        here, there = ("file", "model") if prefix in found else ("model", "file")
        msg = (
            f"the {there} must have a layer under {prefix!r}, as the {here} has, got layers under "
            f"{sorted(asked if there == 'model' else found)}. Make the model with the layers of "
            "the file, under the same names."
        )
        raise ValueError(msg)
    for prefix, settings in found.items():
        own = asked[prefix]._replace(fixed=settings.fixed)
        for name, expected, arrived in zip(Settings._fields, settings, own, strict=True):
            if arrived != expected:
                msg = (
                    f"the layer under {prefix!r} must have {name}={expected!r}, as in the file, "
                    f"got {arrived!r}. Make it from the settings of the file."
                )
                raise ValueError(msg)


def check(shapes: Mapping[str, tuple[int, ...]], settings: Settings, prefix: str = "") -> None:
    """Raise ValueError unless the shapes are those of the parameters of a layer.

    The message names the first parameter that is missing, of another shape, or one too many.
    """
    expected = initial(settings)
    for name, each in expected.items():
        if name not in shapes:
            msg = (
                f"`{prefix}{name}` is missing, of shape {each.shape}. It belongs to a layer of "
                f"form {settings.form!r} with these settings: load the file they were saved in."
            )
            raise ValueError(msg)
        if shapes[name] != each.shape:
            msg = (
                f"`{prefix}{name}` must have shape {each.shape}, got {shapes[name]}. The settings "
                "are those of another layer: use the ones these weights were saved with."
            )
            raise ValueError(msg)
    if unknown := sorted(set(shapes) - set(expected)):
        msg = (
            f"`{prefix}{unknown[0]}` is no parameter of a layer of form {settings.form!r} with "
            f"these settings, which has {', '.join(expected)}."
        )
        raise ValueError(msg)


def _settings(written: Mapping[str, Any]) -> Settings:
    own: Any = {name: tuple(x) if isinstance(x, list) else x for name, x in written.items()}
    return Settings(**own)


def _belongs(name: str, prefix: str, expected: Mapping[str, Any]) -> bool:
    """Whether an array is a layer's: under its prefix, and none of a layer further down."""
    rest = name.removeprefix(prefix)
    return name.startswith(prefix) and ("." not in rest or rest in expected)
