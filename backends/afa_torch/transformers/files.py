"""Loading of converted models, which `save_pretrained` writes."""

from __future__ import annotations

from importlib import import_module
from os import PathLike
from typing import Any

from transformers.models.auto.configuration_auto import AutoConfig

from afa_torch.transformers.conversion import attach
from afa_torch.transformers.interface import NAME, ensure_registered

HUB = (
    "cache_dir",
    "code_revision",
    "force_download",
    "local_files_only",
    "proxies",
    "revision",
    "subfolder",
    "token",
    "trust_remote_code",
)
"""Options of `from_pretrained` that say where files are, of configurations as of weights."""


def from_pretrained(
    path: str | PathLike[str], *, model_class: type[Any] | None = None, **options: Any
) -> Any:
    """Load a converted model that its `save_pretrained` has written.

    The loaders of Transformers ignore the parameters of Adaptive Filter Attention, and report them
    as unexpected.

    Parameters
    ----------
    path : str or path
        A folder, or the name of a model, as in the `from_pretrained` of Transformers.
    model_class : type or None
        By default the class that was saved.
    **options
        Those of `from_pretrained` of the class, such as `dtype` and `device_map`.

    Returns
    -------
    PreTrainedModel

    Raises
    ------
    ValueError
        If the model has not been converted, its class is unknown, or parameters are missing.
    """
    hub = {name: options[name] for name in HUB if name in options}
    config = options.pop("config", None) or AutoConfig.from_pretrained(path, **hub)
    saved = getattr(config, "afa", None)
    if saved is None:
        msg = (
            f"`path` must have a converted model, got {str(path)!r}, whose configuration has no "
            "`afa`. Load it by Transformers and convert it."
        )
        raise ValueError(msg)
    chosen = model_class or getattr(
        import_module("transformers"), (config.architectures or [""])[0], None
    )
    if chosen is None:
        msg = (
            f"`model_class` must be given unless Transformers has the saved class, got None and "
            f"{config.architectures}. Pass the class."
        )
        raise ValueError(msg)
    ensure_registered()
    options["attn_implementation"] = NAME
    with_info = options.pop("output_loading_info", False)
    model, info = _with_dynamics(chosen, saved["fixed"]).from_pretrained(
        path, config=config, output_loading_info=True, **options
    )
    if missing := sorted(each for each in info["missing_keys"] if f".{NAME}." in each):
        msg = (
            f"`path` must have all parameters of Adaptive Filter Attention, got {str(path)!r} "
            f"without {missing}. Save the converted model again."
        )
        raise ValueError(msg)
    model.__class__ = chosen
    return (model, info) if with_info else model


def _with_dynamics(base: type[Any], fixed: list[str]) -> type[Any]:
    """Return a subclass whose models have parameters for what a file holds."""

    class WithDynamics(base):  # type: ignore[misc]
        def __init__(self, config: Any, *arguments: Any, **options: Any) -> None:
            super().__init__(config, *arguments, **options)
            attach(self, fixed)

    # Transformers renames the weights of a file by the class of a model and its module
    WithDynamics.__name__, WithDynamics.__module__ = base.__name__, base.__module__
    return WithDynamics
