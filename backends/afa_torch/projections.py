"""The projections of a layer as modules, and the names of parameters in states and in files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from afa_core.layer import Initial
from afa_core.layer.frameworks import MODULES, check_projections
from afa_core.layer.parameters import PROJECTIONS


def state_name(name: str) -> str:
    """Return the name of a parameter in states, such as ``q_proj.weight`` for ``query_weight``."""
    if not name.endswith(PROJECTIONS):
        return name
    projection, _, part = name.rpartition("_")
    return f"{MODULES[projection]}.{part}"


def parameter(module: nn.Module, name: str) -> Any:
    """Return a parameter or buffer by its name in `afa_core.layer.initial`."""
    return reduce(getattr, state_name(name).split("."), module)


def add_projections(
    module: nn.Module,
    shapes: Mapping[str, Initial],
    trainable: Iterable[str],
    device: Any,
    dtype: torch.dtype,
) -> None:
    """Add an uninitialised ``nn.Linear`` for each projection; weights not trained are buffers."""
    # not by nn.Linear alone, which would draw initial values
    device = torch.get_default_device() if device is None else device
    for name, attribute in MODULES.items():
        rows, columns = shapes[f"{name}_weight"].shape
        bias = f"{name}_bias" in shapes
        options: Any = {"bias": bias, "device": device, "dtype": dtype}
        linear = skip_init(nn.Linear, columns, rows, **options)  # type: ignore[no-untyped-call]
        for part in ("weight", "bias") if bias else ("weight",):
            if f"{name}_{part}" not in trainable:
                x = getattr(linear, part).detach()
                delattr(linear, part)
                linear.register_buffer(part, x)
        module.add_module(attribute, linear)


def check_linear(module: nn.Module) -> None:
    """Raise TypeError unless all projections of a layer are ``nn.Linear``, with plain weights."""

    def is_linear(projection: nn.Module) -> bool:
        return isinstance(projection, nn.Linear) and isinstance(projection.weight, Tensor)

    check_projections(module, is_linear, "an nn.Linear")


def weight_dtype(module: nn.Module) -> torch.dtype | None:
    """Return the dtype that tokens must have, None where a projection accepts several."""
    weight = getattr(module.q_proj, "weight", None)
    return weight.dtype if isinstance(weight, Tensor) and weight.is_floating_point() else None


def projections_of(
    module: nn.Module, autocast: torch.dtype | None
) -> dict[str, Callable[[Tensor], Tensor]]:
    """Return the projections as functions by name, under autocast in a dtype if it is not None."""

    def project(name: str) -> Callable[[Tensor], Tensor]:
        projection: nn.Module = getattr(module, name)
        if autocast is None:
            return projection

        def cast(x: Tensor) -> Tensor:
            with torch.autocast(x.device.type, dtype=autocast):
                y: Tensor = projection(x)
            return y

        return cast

    return {name: project(attribute) for name, attribute in MODULES.items()}
