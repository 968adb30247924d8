"""Attention over tiles: the results of the reference in O(n + m) memory (spec §9)."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

from afa_core._array.arrays import Array, Namespace, device_of
from afa_core._array.pairs import add, project, subtract, unpack
from afa_core._checks.problem import Problem
from afa_core.model.sde import DiagonalSDE, RadialTangential, RadialTangentialSDE
from afa_core.streaming.blocks import Sizes, divide_sizes, pairs_of, query_blocks, unknown_order
from afa_core.streaming.engine import Engine
from afa_core.streaming.influence import StreamedInfluence, streamed_influence
from afa_core.streaming.operands import (
    Operands,
    StaticProblem,
    channel_order,
    components_of,
    operands_of,
)
from afa_core.streaming.phases import Phases, rotation_phases

MIN_QUERIES = 256
"""Queries in a block below which its overhead outweighs what smaller blocks save."""


def few_pairs(problem: Problem, engine: Engine) -> str:
    """Return why tiles do not pay for so few pairs, else an empty string.

    A pair counts once for each mode of the diagonal form, and for each head that tiles share.
    """
    tokens, counted = engine.tokens.isotropic, 1
    if isinstance(problem.sde, RadialTangentialSDE):
        tokens = engine.tokens.radial_tangential
    elif isinstance(problem.sde, DiagonalSDE):
        tokens, counted = engine.tokens.diagonal, problem.modes
    if engine.heads_together:  # those whose number is known
        counted *= prod([each for each in problem.leading if isinstance(each, int)])
    if counted * problem.visibility.queries * problem.visibility.keys >= tokens**2:
        return ""
    least = f"{tokens}²" if counted == 1 else f"{tokens}²/{counted}"
    return f"for fewer pairs than {least} the reference is faster."


class Streamed(NamedTuple):
    """A problem as tiles take it."""

    operands: Operands
    static: StaticProblem
    sizes: Sizes
    phases: Phases
    influence: StreamedInfluence | None

    @classmethod
    def of(
        cls,
        problem: Problem,
        engine: Engine,
        tile: int | None,
        influence: StreamedInfluence | None = None,
        *,
        xp: Namespace,
    ) -> Streamed:
        """Rotate the tokens of a problem, and choose the sizes of its blocks."""
        phases = rotation_phases(problem, xp=xp)
        components = components_of(type(problem.sde), problem.modes)
        if problem.correlated and influence is None:
            influence = streamed_influence(problem.timeline(xp=xp), problem.sde, components, xp=xp)
        dtype = problem.token_dtype if engine.half else None
        operands, static = operands_of(problem, phases, engine.rotate, influence, dtype, xp=xp)
        return cls(operands, static, fit_sizes(engine, static, tile), phases, influence)


def stream(
    problem: Problem,
    engine: Engine,
    tile: int | None,
    *,
    influence: StreamedInfluence | None = None,
    return_precision: bool,
    xp: Namespace,
) -> tuple[Array, Array | RadialTangential]:
    """Return the mean, packed as the problem is, and the precision.

    The influence of correlated keys follows from the problem, unless its keys are not all there.
    """
    streamed = Streamed.of(problem, engine, tile, influence, xp=xp)
    phases, influence = streamed.phases, streamed.influence
    mean, precision = engine.run(*streamed[:3], return_precision=return_precision, xp=xp)
    precision = xp.reshape(precision, (*problem.leading, *precision.shape[1:]))
    if influence is not None:
        precision = influence.precision(precision, problem, xp=xp)

    def at_queries(estimate: Array, which: int = 0) -> Array:
        if influence is not None:
            estimate = xp.reshape(estimate, (*problem.leading, *estimate.shape[1:]))
            estimate = influence.mean(estimate, which, problem, xp=xp)
        return rotate_to_queries(estimate, problem, phases, engine, xp=xp)

    if isinstance(problem.sde, DiagonalSDE):
        return at_queries(mean), precision
    if not isinstance(problem.sde, RadialTangentialSDE):
        return at_queries(mean), precision[..., 0]
    assert problem.anchor is not None
    width = streamed.operands.value.shape[-1]
    parts = mean[..., :width], mean[..., width:]
    both = (at_queries(each, which) for which, each in enumerate(parts))
    radial, tangential = (unpack(each, problem.order) for each in both)
    correction = project(subtract(radial, tangential), problem.anchor, xp=xp)
    combined = problem.pack(add(tangential, correction), xp=xp)
    return combined, RadialTangential(precision[..., 0], precision[..., 1])


def count_pairs(
    problem: Problem, engine: Engine, tile: int | None, *, xp: Namespace
) -> tuple[Array, int]:
    """Return how many pairs are in the tiles that are evaluated, (…), and how many in all."""
    operands, static, sizes, *_ = Streamed.of(problem, engine, tile, xp=xp)
    if engine.count_pairs is None:
        total = pairs_of(query_blocks(static.visibility, sizes, unknown_order))
        visited = xp.full(problem.leading, float(total), device=device_of(operands.query))
        return visited, total
    visited, total = engine.count_pairs(operands, static, sizes, xp=xp)
    return xp.reshape(visited, problem.leading), total


def rotate_to_queries(
    mean: Array, problem: Problem, phases: Phases, engine: Engine, *, xp: Namespace
) -> Array:
    """Rotate estimates (…, n, 2d_v) from time zero to the times of their queries."""
    shaped = xp.reshape(mean, (*problem.leading, *mean.shape[-2:]))
    return engine.rotate(shaped, phases.estimate, channel_order(problem), problem.order, xp=xp)


def fit_sizes(engine: Engine, static: StaticProblem, tile: int | None) -> Sizes:
    """Return the block sizes asked for, or sizes that make at least two blocks of queries.

    With two of them half the pairs above the diagonal are skipped.
    """
    if tile is not None:
        return Sizes(tile, 2 * tile)
    queries = max(MIN_QUERIES, min(engine.sizes.queries, static.visibility.queries // 2))
    sizes = engine.fit(engine.sizes._replace(queries=queries), static)
    return divide_sizes(sizes, static.components) if engine.holds_components else sizes
