"""Calls of a layer on tensors: dtypes, autocast and dropout."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh

from afa_core.layer import Attended, Layer
from afa_core.layer.parameters import PROJECTIONS
from afa_torch.arguments import check_tokens, reject_foreign
from afa_torch.projections import projections_of, weight_dtype

Result = TypeVar("Result")


def call(
    method: Callable[..., Result], module: Any, tokens: Mapping[str, Tensor | None], **options: Any
) -> Result:
    """Call a method of `Layer` on tokens, under `torch.autocast` with projections in its dtype."""
    given = {name: x for name, x in tokens.items() if x is not None}
    parameters = {
        name: getattr(module, name) for name in module._names if not name.endswith(PROJECTIONS)
    }
    layer, frequency = Layer(module.settings, parameters), module.frequency
    if not _uses_autocast(frequency):
        check_tokens(given, weight_dtype(module))
        return method(layer, **given, projections=projections_of(module, None), **options)
    check_tokens(given, None)
    device = frequency.device.type
    dtype = torch.get_autocast_dtype(device)
    cast = {name: x.to(dtype) for name, x in given.items()}
    with torch.autocast(device, enabled=False):
        return method(layer, **cast, projections=projections_of(module, dtype), **options)


def attend(
    module: Any,
    query: Tensor,
    key: Tensor | None,
    value: Tensor | None,
    *,
    implementation: str | None = None,
    mesh: DeviceMesh | None = None,
    **options: Any,
) -> Attended:
    """Filter tokens by a layer; takes the arguments of its `forward`."""
    reject_foreign(options)
    if mesh is not None:
        # Imported here: PyTorch may be built without torch.distributed.
        from afa_torch.ring import ring_estimate

        options["ring"] = partial(ring_estimate, mesh=mesh)
    chosen = module.implementation if implementation is None else implementation
    if chosen == "auto" and torch.compiler.is_exporting():
        chosen = "reference"  # of standard operators only
    options |= {"implementation": chosen, "dropout": _dropout_of(module)}
    tokens = {"query": query, "key": key, "value": value}
    return call(Layer.__call__, module, tokens, **options)


def _dropout_of(module: Any) -> Callable[[tuple[int, ...]], Tensor] | None:
    """Return what draws the factors of the weights of pairs, None without dropout."""
    if not (module.training and module.dropout):
        return None
    return partial(_draw_factors, module.frequency, module.dropout)


def _draw_factors(like: Tensor, probability: float, shape: tuple[int, ...]) -> Tensor:
    ones = torch.ones(shape, device=like.device, dtype=like.dtype)
    return nn.functional.dropout(ones, probability)


def _uses_autocast(frequency: Tensor) -> bool:
    """Whether a layer's projections are computed in the dtype of `torch.autocast`."""
    device = frequency.device.type
    enabled = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return enabled and frequency.dtype != torch.float64
