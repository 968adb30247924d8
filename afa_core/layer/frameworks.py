"""What the layers of the frameworks have in common: names of modules, checks, and text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from afa_core._array.arrays import is_number
from afa_core.layer.settings import Settings, arguments_of

MODULES = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "out_proj"}
"""Names of the projections in `afa_core.layer.initial`, and of their modules."""


def check_projections(layer: Any, is_linear: Callable[[Any], bool], kind: str) -> None:
    """Raise TypeError unless all projections of a layer are linear modules of its framework.

    Parameters
    ----------
    layer : object
        With the attributes of `MODULES`.
    is_linear : callable
        Whether a projection is such a module, with plain weights.
    kind : str
        Such a module with its article, for the message.
    """
    for name in MODULES.values():
        projection = getattr(layer, name)
        if not is_linear(projection):
            msg = (
                f"`{name}` must be {kind} for a layer as a value or in a file, got "
                f"{type(projection).__module__}.{type(projection).__name__}. Merge adapters into "
                "the weights first, and take the layer before it is quantised."
            )
            raise TypeError(msg)


def check_probability(name: str, x: Any) -> None:
    """Raise TypeError or ValueError unless an argument is a probability."""
    if not is_number(x):
        msg = f"`{name}` must be a number, got {type(x).__name__}."
        raise TypeError(msg)
    if not 0.0 <= x <= 1.0:
        msg = f"`{name}` must be a probability, from 0 to 1, got {x!r}."
        raise ValueError(msg)


def described(settings: Settings) -> dict[str, Any]:
    """Return the sizes, and the settings that differ from the defaults, as arguments of a layer."""
    usual = Settings._field_defaults | {"num_kv_heads": None}
    arguments = arguments_of(settings)
    return {name: x for name, x in arguments.items() if name not in usual or x != usual[name]}
