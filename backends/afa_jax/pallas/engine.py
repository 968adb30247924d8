"""The kernels as an engine: which problems they take; Pallas is imported with the first of them.

On a CPU kernels are interpreted, for those who name them. A program that was traced for a GPU and
is compiled for another platform evaluates loops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from importlib.util import find_spec
from math import prod
from typing import Any, TypeVar, cast

import jax
from jax import lax
from jax.core import Tracer

from afa_core._checks.problem import Problem
from afa_core.model.sde import IsotropicSDE
from afa_core.streaming.blocks import Sizes
from afa_core.streaming.engine import CompiledEngine, Crossover
from afa_core.streaming.forward.sums import StreamResult
from afa_core.streaming.kernels import no_exit
from afa_core.streaming.operands import Operands, StaticProblem
from afa_jax.derivatives import in_loops, stream
from afa_jax.division import explicit_heads, vary_over, varying_axes
from afa_jax.engine import ENGINE
from afa_jax.streaming import Kernels, Program
from afa_jax.streaming import backward as backward_in_loops
from afa_jax.streaming import forward as forward_in_loops

MOST_CHANNELS = 256
"""Of a token: those of a tile have to fit into the memory of a multiprocessor."""
Value = TypeVar("Value")


@cache
def missing() -> str:
    """Return which library is missing; an empty string if none is."""
    found = find_spec("jax.experimental.pallas")
    return "" if found else "it needs Pallas, of JAX 0.6 or later."


def platform_of(x: Any) -> str:
    """Return the platform of an array; where it is traced, that of the default device."""
    if not isinstance(x, Tracer):
        return str(next(iter(x.devices())).platform)
    device: Any = getattr(jax.config, "jax_default_device", None)
    return str(getattr(device, "platform", device) or jax.default_backend())


def refusal(problem: Problem) -> str:
    """Return why kernels do not take a problem, an empty string if they do."""
    query: Any = problem.packed.query
    channels = max(query.shape[-1], problem.packed.value.shape[-1])
    if (platform := platform_of(query)) not in ("gpu", "cuda", "cpu"):
        return f"it takes arrays on an NVIDIA GPU, not on {platform}."
    if reason := missing():
        return reason
    if not isinstance(problem.sde, IsotropicSDE):
        return f"it takes an IsotropicSDE, not a {type(problem.sde).__name__}."
    if query.dtype == "float64":
        return "it computes in single precision, not in double."
    if channels > MOST_CHANNELS:
        return f"it takes tokens of at most {MOST_CHANNELS // 2} modes, not {channels // 2}."
    if not all(isinstance(each, int) for each in (*problem.leading, *problem.visibility[:2])):
        return "it takes a number of tokens that is known."
    if explicit_heads(query) is not None:
        return "it takes no array that explicit axes divide."
    return ""


def reservation(problem: Problem) -> str:
    """Return why `auto` prefers another implementation, an empty string if it does not."""
    if platform_of(problem.packed.query) == "cpu":
        return "on a CPU it is interpreted."
    return "it has not yet run on a GPU: compare it with 'streaming' there."


def on_platforms(
    kernels: Callable[..., Value], loops: Callable[..., Value], interpret: bool, *arrays: Any
) -> Value:
    """Evaluate kernels on a GPU and where they are interpreted, loops elsewhere."""
    if interpret:
        return kernels(*arrays)
    found: Value = lax.platform_dependent(*arrays, cuda=kernels, default=loops)
    return found


def _without_tokens(operands: Operands) -> bool:
    return not prod(operands.query.shape[:2])


@partial(jax.jit, static_argnums=(0, 1))
def forward(interpret: bool, program: Program, operands: Operands, mask: Any) -> StreamResult:
    """Estimate the state at every query."""
    from afa_jax.pallas import run
    from afa_jax.pallas.tuning import blocks_of

    def loops(operands: Operands, mask: Any) -> StreamResult:
        return cast(StreamResult, forward_in_loops(*in_loops(program, operands), mask))

    if _without_tokens(operands):
        return loops(operands, mask)
    blocks = blocks_of(operands, program.sizes.queries, interpret=interpret).forward

    def kernels(operands: Operands, mask: Any) -> StreamResult:
        return run.forward(operands, program.static, mask, blocks, interpret=interpret)[0]

    return on_platforms(kernels, loops, interpret, operands, mask)


@partial(jax.jit, static_argnums=(0, 1))
def backward(
    interpret: bool, program: Program, operands: Operands, mask: Any, *rest: Any
) -> Operands:
    """Return the gradients in all operands from the result and those in its mean and precision."""
    from afa_jax.pallas import run
    from afa_jax.pallas.tuning import blocks_of

    def loops(operands: Operands, mask: Any, *rest: Any) -> Operands:
        found = backward_in_loops(*in_loops(program, operands), mask, *rest)
        return Operands(*(x.astype(y.dtype) for x, y in zip(found, operands, strict=True)))

    if _without_tokens(operands):
        return loops(operands, mask, *rest)
    blocks = blocks_of(operands, program.sizes.queries, interpret=interpret).backward

    def kernels(operands: Operands, mask: Any, *rest: Any) -> Operands:
        return run.backward(operands, program.static, mask, blocks, *rest, interpret=interpret)

    return on_platforms(kernels, loops, interpret, operands, mask, *rest)


@cache
def _kernels(interpret: bool) -> Kernels:
    return Kernels(partial(forward, interpret), partial(backward, interpret))


def _run(
    operands: Operands, static: StaticProblem, sizes: Sizes, *, return_precision: bool, xp: Any
) -> tuple[Any, Any]:
    program = Program.of(static, sizes, return_precision=return_precision)
    interpret = platform_of(operands.query) == "cpu"
    mask = static.visibility.mask
    operands, mask = vary_over((operands, mask), varying_axes((operands, mask)))
    result = stream(program._replace(kernels=_kernels(interpret)), operands, mask)
    return result.mean, result.precision


def _count_pairs(
    operands: Operands, static: StaticProblem, sizes: Sizes, *, xp: Any
) -> tuple[Any, int]:
    from afa_jax.pallas import run
    from afa_jax.pallas.tuning import blocks_of

    interpret = platform_of(operands.query) == "cpu"
    blocks = blocks_of(operands, sizes.queries, interpret=interpret).forward
    mask = static.visibility.mask
    _, visited = run.forward(operands, static, mask, blocks, interpret=interpret)
    pairs = blocks.queries * blocks.keys
    tiles = (visited[..., 1] - visited[..., 0]).sum(axis=1)
    return tiles * float(pairs), pairs * run.tiles(static, blocks)


def _warm_up() -> Iterator[str]:
    """Compile nothing: kernels are compiled for the problems of their first call."""
    yield from ()


PALLAS = CompiledEngine(
    ENGINE._replace(
        run=_run,
        sizes=Sizes(128, 128),
        tokens=Crossover(1, 1, 1),
        no_exit=no_exit,
        count_pairs=_count_pairs,
        fit=lambda sizes, static: sizes,
        half=True,
    ),
    refusal,
    missing,
    _warm_up,
    reservation,
)
"""Kernels of Pallas, whose products take tokens in half precision."""
