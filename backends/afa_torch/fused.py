"""The compiled loops of NumPy on PyTorch tensors, whose memory they share."""

from __future__ import annotations

from typing import Any

import torch

from afa_core._checks.problem import Problem
from afa_core.streaming.blocks import Sizes
from afa_core.streaming.forward.sums import StreamResult
from afa_core.streaming.operands import Operands, StaticProblem
from afa_numpy.fused import engine
from afa_numpy.fused.engine import warm_up
from afa_numpy.fused.needed import missing

__all__ = ["backward", "count_pairs", "forward", "missing", "refusal", "warm_up"]

ENGINE = engine.FUSED.engine


def refusal(problem: Problem) -> str:
    """Return why compiled loops do not take a problem, an empty string if they do."""
    query: Any = problem.packed.query
    if torch.compiler.is_exporting():
        return "a program that is exported would call it by name."
    if query.device.type != "cpu":
        return f"it takes tensors on a CPU, not on {query.device.type}."
    return engine.refusal(problem)


def forward(operands: Operands, static: StaticProblem, sizes: Sizes) -> tuple[Any, ...] | None:
    """Return the results, in the order of `StreamResult`; None if a number is not finite."""
    found = engine.forward(*_as_numpy(operands, static), sizes, torch.get_num_threads())
    return None if found is None else tuple(map(torch.from_numpy, found[0]))


def backward(
    operands: Operands, static: StaticProblem, sizes: Sizes, given: list[Any]
) -> list[Any] | None:
    """Return the gradients in all operands, given results and the gradients in the first two."""
    *result, grad_mean, grad_precision = map(_array, given)
    threads, problem = torch.get_num_threads(), _as_numpy(operands, static)
    grads = grad_mean, grad_precision
    found = engine.backward(*problem, sizes, threads, StreamResult(*result), *grads)
    return None if found is None else list(map(torch.from_numpy, found))


def count_pairs(
    operands: Operands, static: StaticProblem, sizes: Sizes, *, xp: Any
) -> tuple[Any, int]:
    """Return how many pairs each head visits, and how many there are."""
    assert ENGINE.count_pairs is not None
    pairs, total = ENGINE.count_pairs(*_as_numpy(operands, static), sizes, xp=xp)
    return torch.from_numpy(pairs), total


def _array(x: Any) -> Any:
    return x.detach().resolve_neg().numpy()


def _as_numpy(operands: Operands, static: StaticProblem) -> tuple[Operands, StaticProblem]:
    """Return the same memory as NumPy arrays."""
    visibility, mask = static.visibility, static.visibility.mask
    visibility = visibility._replace(mask=None if mask is None else _array(mask))
    return Operands(*map(_array, operands)), static._replace(visibility=visibility)
