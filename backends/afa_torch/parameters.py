"""The parameters of the layer as those of a PyTorch module: dtypes, initial values, groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn

from afa_core.layer import Settings, Start, initial, trained
from afa_core.layer.parameters import PROJECTIONS
from afa_torch.projections import add_projections, parameter


class SinglePrecision(nn.Module):
    """A module whose own parameters keep their dtype when it is cast to half precision.

    Half precision loses small steps of the unconstrained parameters, and small decays altogether.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        def apply(x: Tensor) -> Tensor:
            moved = fn(x)
            narrowed = moved.is_floating_point() and moved.element_size() < min(4, x.element_size())
            return x.to(moved.device) if narrowed else moved

        for module in self.children() if recurse else ():
            module._apply(fn)  # type: ignore[no-untyped-call]
        result: Self = super()._apply(apply, recurse=False)  # type: ignore[no-untyped-call]
        return result


def register(module: nn.Module, settings: Settings, device: Any, dtype: torch.dtype) -> None:
    """Register uninitialised parameters, and buffers for those that are not trained.

    Projections have the given dtype; all others are at least in single precision.
    """
    trainable, wide = trained(settings), torch.promote_types(dtype, torch.float32)
    shapes = initial(settings)
    for name, each in shapes.items():
        if name.endswith(PROJECTIONS):
            continue
        x = torch.empty(each.shape, device=device, dtype=wide)
        if name in trainable:
            module.register_parameter(name, nn.Parameter(x))
        else:
            module.register_buffer(name, x)
    add_projections(module, shapes, trainable, device, dtype)


@torch.no_grad()
def initialise(module: nn.Module, settings: Settings, start: Start | None) -> None:
    """Set all parameters of a module to their initial values."""
    for name, each in initial(settings, start).items():
        x: Tensor = parameter(module, name)
        if each.values:
            values = torch.tensor(each.values, dtype=torch.float64).reshape(each.shape)
            x.copy_(_divided_as(values, x))
        else:
            x.normal_(0.0, each.deviation)


def _divided_as(values: Tensor, x: Any) -> Tensor:
    """Return values divided among devices as a parameter is, if it is."""
    if not hasattr(x, "placements"):
        return values
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(values.to(x.device), x.device_mesh, x.placements)


def parameter_groups(
    model: nn.Module, lr: float, *, weight_decay: float = 0.01, lr_scale: float = 1.0
) -> list[dict[str, Any]]:
    """Return the trained parameters of a model in groups, for `torch.optim.AdamW` and others.

    Weight decay would draw the unconstrained parameters of dynamics and noise to zero, a point of
    no meaning, so it is for matrices alone: neither for these, nor for vectors such as biases and
    gains of norms.

    Parameters
    ----------
    model : Module
        A layer, or a model that contains layers or was converted.
    lr : float
        The learning rate.
    weight_decay : float
        Of matrices.
    lr_scale : float
        The learning rate of dynamics and noise is ``lr · lr_scale``.

    Returns
    -------
    list of dict
        Matrices, vectors, and dynamics with noise; groups without parameters are left out.

    Raises
    ------
    ValueError
        If a number is negative or not finite.

    Examples
    --------
    >>> from afa_torch import AdaptiveFilterAttention
    >>> layer = AdaptiveFilterAttention(8, 2)
    >>> groups = parameter_groups(layer, 1e-3, weight_decay=0.1, lr_scale=10.0)
    >>> [(group["lr"], group["weight_decay"]) for group in groups]
    [(0.001, 0.1), (0.001, 0.0), (0.01, 0.0)]
    """
    for name, x in (("lr", lr), ("weight_decay", weight_decay), ("lr_scale", lr_scale)):
        if not 0.0 <= x < float("inf"):
            msg = f"`{name}` must be a finite number ≥ 0, got {x!r}. Pass one."
            raise ValueError(msg)
    own = {
        id(x)
        for module in model.modules()
        if getattr(module, "has_dynamics", False)
        for x in module.parameters(recurse=False)
    }
    trained = [x for x in model.parameters() if x.requires_grad]
    others = [x for x in trained if id(x) not in own]
    dynamics = [x for x in trained if id(x) in own]
    groups: list[dict[str, Any]] = [
        {"params": [x for x in others if x.ndim > 1], "lr": lr, "weight_decay": weight_decay},
        {"params": [x for x in others if x.ndim < 2], "lr": lr, "weight_decay": 0.0},
        {"params": dynamics, "lr": lr * lr_scale, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
