"""The compiled implementation as an engine: which problems it takes, and how NumPy runs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from afa_core._checks.problem import Problem
from afa_core.model.sde import SDE, DiagonalSDE, IsotropicSDE, RadialTangentialSDE
from afa_core.streaming.blocks import Sizes, pairs_of, query_blocks, unknown_order
from afa_core.streaming.engine import CompiledEngine, Crossover, Engine, exits
from afa_core.streaming.forward.sums import StreamResult
from afa_core.streaming.operands import Operands, StaticProblem
from afa_numpy.fused.needed import missing, threads
from afa_numpy.rotation import rotate
from afa_numpy.streaming import ENGINE as STREAMING

FORMS: tuple[type[SDE], ...] = IsotropicSDE, RadialTangentialSDE, DiagonalSDE
TILE = 128
"""Queries, and keys, in a tile."""


def refusal(problem: Problem) -> str:
    """Return why compiled loops do not take a problem, an empty string if they do."""
    return missing()


def forward(
    operands: Operands, static: StaticProblem, sizes: Sizes, threads: int
) -> tuple[StreamResult, Any] | None:
    """Return the estimates and the pairs visited by each head; None if a number is not finite.

    Tiles multiply the value of a hidden token by zero.
    """
    from afa_numpy.fused import run

    prepared = run.prepare(operands, static, min(sizes.queries, TILE), threads)
    return run.forward(prepared) if prepared.finite else None


def backward(
    operands: Operands,
    static: StaticProblem,
    sizes: Sizes,
    threads: int,
    result: StreamResult,
    grad_mean: Any,
    grad_precision: Any,
) -> Operands | None:
    """Return the gradients in all operands; None if a number is not finite."""
    from afa_numpy.fused import run

    prepared = run.prepare(operands, static, min(sizes.queries, TILE), threads)
    if not prepared.finite:
        return None
    return run.grads_of(run.backward(prepared, result, grad_mean, grad_precision), operands)


def _run(
    operands: Operands, static: StaticProblem, sizes: Sizes, *, return_precision: bool, xp: Any
) -> tuple[Any, Any]:
    found = forward(operands, static, sizes, threads())
    if found is None:
        return STREAMING.run(operands, static, sizes, return_precision=return_precision, xp=xp)
    return found[0].mean, found[0].precision


def _count_pairs(
    operands: Operands, static: StaticProblem, sizes: Sizes, *, xp: Any
) -> tuple[Any, int]:
    found = forward(operands, static, sizes, threads())
    if found is None:
        assert STREAMING.count_pairs is not None
        return STREAMING.count_pairs(operands, static, sizes, xp=xp)
    size = min(sizes.queries, TILE)
    total = pairs_of(query_blocks(static.visibility, Sizes(size, size), unknown_order))
    return found[1].astype(np.float64), total


def _in_threads(jobs: int, work: Callable[[int, int], None]) -> None:
    """Call ``work(first, last)`` for all jobs in NumPy's share of threads."""
    from afa_numpy.fused.threads import run_jobs

    run_jobs(threads(), jobs, work)


def warm_up() -> Iterator[str]:
    """Compile all loops ahead of their first call; yield what is compiled, one after another."""
    from afa_numpy.fused import warm_up

    return warm_up.compile_all(FORMS)


FUSED = CompiledEngine(
    Engine(
        _run,
        Sizes(TILE, TILE),
        Crossover(32, 16, 64),
        partial(rotate, run=_in_threads),
        no_exit=exits,
        count_pairs=_count_pairs,
        holds_components=False,
    ),
    refusal,
    missing,
    warm_up,
)
