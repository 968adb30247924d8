"""The kernel as an engine: which problems it takes; CuPy is imported when attention runs."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from afa_core._checks.problem import Problem
from afa_core.model.sde import IsotropicSDE
from afa_core.streaming.blocks import Sizes
from afa_core.streaming.engine import CompiledEngine, Crossover, Engine
from afa_core.streaming.kernels import no_exit
from afa_core.streaming.operands import Operands, StaticProblem
from afa_cupy.fused import launch
from afa_cupy.fused.blocks import Tokens, choose_blocks

MOST_CHANNELS = 256
"""Of a token: those of a tile have to fit into the memory of a multiprocessor."""


def missing() -> str:
    """Return how to install CuPy; an empty string if it is there."""
    return "" if find_spec("cupy") else "it needs CuPy: pip install 'afa-core[cupy-cuda13]'."


def refusal(problem: Problem) -> str:
    """Return why the kernel does not take a problem, an empty string if it does."""
    query: Any = problem.packed.query
    value: Any = problem.packed.value
    channels = max(query.shape[-1], value.shape[-1])
    if not isinstance(problem.sde, IsotropicSDE):
        return f"it takes an IsotropicSDE, not a {type(problem.sde).__name__}."
    if channels > MOST_CHANNELS:
        return f"it takes tokens of at most {MOST_CHANNELS // 2} modes, not {channels // 2}."
    tokens = Tokens(query.shape[-1], value.shape[-1], query.dtype.itemsize, 2)
    if choose_blocks(tokens, launch.memory_of(query), 1) is None:
        return "a tile does not fit into the shared memory of the device."
    return ""


def reservation(problem: Problem) -> str:
    """Return why `auto` prefers another implementation."""
    return "it has not yet run on a GPU: compare it with 'streaming' there."


def _run(
    operands: Operands, static: StaticProblem, sizes: Sizes, *, return_precision: bool, xp: Any
) -> tuple[Any, Any]:
    found, _ = launch.forward(operands, static, sizes.queries, xp=xp)
    return found.mean, found.precision


def _count_pairs(
    operands: Operands, static: StaticProblem, sizes: Sizes, *, xp: Any
) -> tuple[Any, int]:
    found, blocks = launch.forward(operands, static, sizes.queries, xp=xp)
    limits, (queries, keys, causal, _) = found.limits, static.visibility
    starts = xp.arange(limits.shape[1]) * blocks.queries
    rows = xp.minimum(queries - starts, xp.asarray(blocks.queries))
    lasts = limits[:1, :, 1] if causal else xp.full((1, limits.shape[1]), keys)
    visited = xp.sum(rows * (limits[..., 1] - limits[..., 0]), axis=1)
    return xp.astype(visited, xp.float64), int(xp.sum(rows * lasts))


def warm_up() -> Iterator[str]:
    """Compile nothing: the kernel is compiled for the problems of its first call."""
    yield from ()


FUSED = CompiledEngine(
    Engine(
        _run,
        Sizes(256, 256),
        Crossover(1, 1, 1),  # the reference launches tens of kernels
        no_exit=no_exit,
        count_pairs=_count_pairs,
        heads_together=True,
        holds_components=False,
    ),
    refusal,
    missing,
    warm_up,
    reservation,
)
"""A kernel in CUDA C++, forward only, in the precision of its problem."""
