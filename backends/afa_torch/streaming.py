"""How PyTorch runs attention over tiles: its operations, compiled loops, and kernels on a GPU."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from array_api_compat import torch as namespace

from afa_core._array.products import full_precision
from afa_core._checks.problem import Problem
from afa_core.streaming.blocks import Sizes
from afa_core.streaming.engine import CompiledEngine, Crossover, Engine, unread
from afa_core.streaming.forward.run import count_pairs
from afa_core.streaming.kernels import no_exit
from afa_core.streaming.operands import Operands, StaticProblem
from afa_torch import fused
from afa_torch.operations import operations
from afa_torch.operator import NO_DERIVATIVES, run
from afa_torch.rotation import rotate
from afa_torch.triton import engine as triton

XP: Any = namespace


def _count_pairs(
    operands: Operands, static: StaticProblem, sizes: Sizes, *, xp: Any
) -> tuple[Any, int]:
    query: Any = operands.query
    with torch.no_grad(), full_precision(query, xp=XP):
        return count_pairs(operands, static, sizes, operations(query.device), xp=XP)


def _no_exit(problem: Problem) -> str:
    query: Any = problem.packed.query
    on_cpu: bool = query.device.type == "cpu"  # where reading does not wait
    return "" if on_cpu else unread(problem)


ENGINE = Engine(
    run,
    Sizes(256, 1024),
    Crossover(256, 180, 256),
    rotate,
    no_exit=_no_exit,
    count_pairs=_count_pairs,
    heads_together=True,
    derivatives=NO_DERIVATIVES,
)

FUSED = CompiledEngine(
    ENGINE._replace(
        run=partial(run, implementation="fused"),
        sizes=fused.ENGINE.sizes,
        tokens=fused.ENGINE.tokens,
        count_pairs=fused.count_pairs,
        holds_components=fused.ENGINE.holds_components,
    ),
    fused.refusal,
    fused.missing,
    fused.warm_up,
)
"""The compiled loops of NumPy on PyTorch tensors, whose memory they share."""

TRITON = CompiledEngine(
    ENGINE._replace(
        run=partial(run, implementation="triton"),
        sizes=Sizes(128, 128),
        tokens=Crossover(1, 1, 1),  # the reference launches tens of kernels
        no_exit=no_exit,
        count_pairs=triton.count_pairs,
        half=True,
    ),
    triton.refusal,
    triton.missing,
    triton.warm_up,
    triton.reservation,
)
"""Kernels of Triton, whose products take tokens in half precision."""
