"""Groups of parameters for optimisers."""

from __future__ import annotations

from typing import Any

from torch import nn

from afa_torch.transformers.dynamics import Dynamics


def parameter_groups(
    model: nn.Module, *, lr: float, weight_decay: float = 0.0, lr_scale: float = 1.0
) -> list[dict[str, Any]]:
    """Return the trained parameters of a model in groups for an optimiser of PyTorch.

    Weight decay would pull noise variances to zero, so it is for weights alone: neither for
    dynamics and noise, nor for vectors such as biases and gains of norms.

    Parameters
    ----------
    model : Module
        Of `convert`, with adapters of PEFT or without.
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

    Examples
    --------
    >>> import torch
    >>> [group["weight_decay"] for group in parameter_groups(torch.nn.Linear(2, 2), lr=1e-3)]
    [0.0, 0.0]
    """
    dynamics = {
        id(x) for each in model.modules() if isinstance(each, Dynamics) for x in each.parameters()
    }
    trained = [x for x in model.parameters() if x.requires_grad]
    others = [x for x in trained if id(x) not in dynamics]
    groups: list[dict[str, Any]] = [
        {"params": [x for x in others if x.ndim > 1], "lr": lr, "weight_decay": weight_decay},
        {"params": [x for x in others if x.ndim < 2], "lr": lr, "weight_decay": 0.0},
        {
            "params": [x for x in trained if id(x) in dynamics],
            "lr": lr * lr_scale,
            "weight_decay": 0.0,
        },
    ]
    return [group for group in groups if group["params"]]
