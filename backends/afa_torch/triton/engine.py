"""The kernels as an engine: which problems they take; Triton is imported with the first of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from importlib.util import find_spec
from typing import Any, cast

import torch

from afa_core._checks.problem import Problem
from afa_core.model.sde import DiagonalSDE, RadialTangentialSDE
from afa_core.streaming.blocks import Sizes
from afa_core.streaming.operands import Operands, StaticProblem

MOST_CHANNELS = 256
"""Of a token: those of a tile have to fit into the memory of a multiprocessor."""


@cache
def missing() -> str:
    """Return how to install Triton; an empty string if it is there."""
    return "" if find_spec("triton") else "it needs triton: install PyTorch for CUDA."


def refusal(problem: Problem) -> str:
    """Return why kernels do not take a problem, an empty string if they do."""
    query: Any = problem.packed.query
    channels = max(query.shape[-1], problem.packed.value.shape[-1])
    if torch.compiler.is_exporting():
        return "a program that is exported would call it by name."
    if query.device.type != "cuda" and not _interprets(query):
        return f"it takes tensors on a GPU, not on {query.device.type}."
    if reason := missing():
        return reason
    if isinstance(problem.sde, DiagonalSDE):
        return "it takes an IsotropicSDE or a RadialTangentialSDE, not a DiagonalSDE."
    if query.dtype == torch.float64:
        return "it computes in single precision, not in double."
    if channels > MOST_CHANNELS:
        return f"it takes tokens of at most {MOST_CHANNELS // 2} modes, not {channels // 2}."
    return ""


def reservation(problem: Problem) -> str:
    """Return why `auto` prefers another implementation, an empty string if it does not."""
    query: Any = problem.packed.query
    return "on a CPU it is interpreted." if query.device.type == "cpu" else ""


def _interprets(x: Any) -> bool:
    """Whether kernels are interpreted on the device of a tensor."""
    return x.device.type == "cpu" and os.environ.get("TRITON_INTERPRET") == "1"


def _launches(static: StaticProblem) -> Any:
    """Return the module that launches the kernels of a form."""
    if static.form is RadialTangentialSDE:
        from afa_torch.triton import radial_tangential_run

        return radial_tangential_run
    from afa_torch.triton import run

    return run


def _on_device_of(operands: Operands) -> AbstractContextManager[Any]:
    """Return a context in which the device of operands is the current one, as launches need."""
    device = cast(Any, operands.query).device
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def forward(operands: Operands, static: StaticProblem, sizes: Sizes) -> tuple[Any, ...]:
    """Return the results, in the order of `StreamResult`."""
    with _on_device_of(operands):
        return tuple(_launches(static).forward(operands, static, sizes.queries)[:4])


def backward(
    operands: Operands, static: StaticProblem, sizes: Sizes, given: list[Any]
) -> list[Any]:
    """Return the gradients in all operands, given results and the gradients in the first two."""
    results, grads = given[:-2], given[-2:]
    with _on_device_of(operands):
        return list(_launches(static).backward(operands, static, sizes.queries, results, *grads))


def count_pairs(
    operands: Operands, static: StaticProblem, sizes: Sizes, *, xp: Any
) -> tuple[Any, int]:
    """Return how many pairs each head visits, and how many there are."""
    with _on_device_of(operands):
        limits = _launches(static).forward(operands, static, sizes.queries).limits
    visibility = static.visibility
    total = visibility.queries * visibility.keys
    if visibility.causal:  # exit leaves out the first keys, not the last
        total = int(limits[:1, :, 1].sum())
    return limits.diff(dim=-1).sum((1, 2)).to(torch.float64), total


def warm_up() -> Iterator[str]:
    """Compile nothing: kernels are compiled for the problems of their first call."""
    yield from ()
