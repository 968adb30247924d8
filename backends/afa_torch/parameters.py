"""The parameters of the layer as those of a PyTorch module, and their dtypes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from afa_core.layer import Layer, Settings, Start, initial, trained
from afa_core.layer.parameters import PROJECTIONS
from afa_torch.arguments import check_tokens

Result = TypeVar("Result")


def register(module: nn.Module, settings: Settings, device: Any, dtype: torch.dtype) -> None:
    """Register uninitialised parameters, and buffers for those that are not trained.

    Projections have the given dtype; all others are at least in single precision.
    """
    trainable, wide = trained(settings), torch.promote_types(dtype, torch.float32)
    for name, each in initial(settings).items():
        own_dtype = dtype if name.endswith(PROJECTIONS) else wide
        x = torch.empty(each.shape, device=device, dtype=own_dtype)
        if name in trainable:
            module.register_parameter(name, nn.Parameter(x))
        else:
            module.register_buffer(name, x)


@torch.no_grad()
def initialise(module: nn.Module, settings: Settings, start: Start | None) -> None:
    """Set all parameters of a module to their initial values."""
    for name, each in initial(settings, start).items():
        x: Tensor = getattr(module, name)
        if each.values:
            x.copy_(torch.tensor(each.values, dtype=torch.float64).reshape(each.shape))
        else:
            x.normal_(0.0, each.deviation)


def call(
    method: Callable[..., Result], layer: Layer, tokens: Mapping[str, Tensor | None], **options: Any
) -> Result:
    """Call a method of a layer on tokens, under `torch.autocast` with projections in its dtype."""
    given = {name: x for name, x in tokens.items() if x is not None}
    weight = layer.parameters["query_weight"]
    device = weight.device.type
    if not _uses_autocast(weight):
        check_tokens(given, weight.dtype)
        return method(layer, **given, **options)
    check_tokens(given, None)
    dtype = torch.get_autocast_dtype(device)
    parameters = {
        name: x.to(dtype) if name.endswith(PROJECTIONS) else x
        for name, x in layer.parameters.items()
    }
    cast = {name: x.to(dtype) for name, x in given.items()}
    with torch.autocast(device, enabled=False):
        return method(Layer(layer.settings, parameters), **cast, **options)


def _uses_autocast(weight: Tensor) -> bool:
    """Whether projections by this weight are computed in the dtype of `torch.autocast`."""
    device = weight.device.type
    enabled = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return enabled and weight.dtype != torch.float64
