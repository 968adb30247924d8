"""Launches of the kernels of the radial–tangential form, with what is formed around them."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton

from afa_core.streaming.operands import Operands, StaticProblem
from afa_torch.triton.arguments import Results
from afa_torch.triton.key_gradients import ThroughKeys
from afa_torch.triton.query_gradients import ThroughQueries
from afa_torch.triton.radial_tangential import Components
from afa_torch.triton.radial_tangential_forward import both_forward_kernel
from afa_torch.triton.radial_tangential_key import both_key_kernel
from afa_torch.triton.radial_tangential_prepare import Both, component, prepare_both
from afa_torch.triton.radial_tangential_query import both_query_kernel
from afa_torch.triton.run import (
    F32,
    launch,
    limits_of,
    new_results,
    of_parameters,
    outward_of,
    prior_gradients,
    visits_of,
)
from afa_torch.triton.splits import of_shares, with_splits
from afa_torch.triton.tuning import Blocks, run_fastest


class BothQueries(NamedTuple):
    """Where the gradients of blocks of queries are written."""

    radial: ThroughQueries  # whose tokens are u, and whose model holds ν_s and β
    tangential: ThroughQueries
    length: Any  # in √c‖q‖, (g, n)


def forward(operands: Operands, static: StaticProblem, most: int) -> Results:
    """Return the estimates of both components, by blocks of at most so many queries."""
    both = prepare_both(operands, static)
    found: Components = run_fastest("both forward", both, most, _run_forward)
    radial, tangential = found
    joined = (torch.cat(each, -1) for each in zip(radial[:4], tangential[:4], strict=True))
    mean, precision, peak, total = joined
    return Results(mean, precision, peak, total, radial.limits)


def backward(
    operands: Operands,
    static: StaticProblem,
    most: int,
    found: list[Any],
    grad_mean: Any,
    grad_precision: Any,
) -> Operands:
    """Return the gradients in all operands, given the results but for limits."""
    both = prepare_both(operands, static)
    results = _split(both, found)
    given = zip(grad_mean.chunk(2, -1), grad_precision.split(1, -1), strict=True)
    outward = Components(
        *(
            outward_of(own, result, mean.to(F32), precision.to(F32))
            for own, result, (mean, precision) in zip(both.components, results, given, strict=True)
        )
    )
    of_queries: BothQueries = run_fastest(
        "both queries", both, most, _run_queries, results, outward
    )
    of_keys: ThroughKeys = run_fastest("both keys", both, most, _run_keys, results, outward)
    return _gradients(operands, static, both, results, outward, of_queries, of_keys)


def _run_forward(both: Both, blocks: Blocks) -> Components:
    """Launch the forward with blocks of some sizes."""
    heads, queries, _ = both.directions.along.shape
    programs = triton.cdiv(queries, blocks.queries) * heads
    prepared = with_splits(both.prepared, programs, blocks)
    value, own = prepared.keys.radial.value, both.components
    results = Components(*(new_results(prepared, heads, value) for _ in range(2)))
    launch(both_forward_kernel, programs, prepared, blocks, results, components=own)
    return Components(*(of_shares(each, prepared.numbers.splits) for each in results))


def _split(both: Both, found: list[Any]) -> Components:
    """Return the results of each component, with what both visit."""
    means, parts = found[0].chunk(2, -1), [x.split(1, -1) for x in found[1:]]
    own = []
    for s in range(2):
        precision, peak, total = (x[s].contiguous() for x in parts)
        own.append(Results(means[s].contiguous(), precision, peak, total, None))
    one, two = (
        limits_of(problem, each.peak, each.total)
        for problem, each in zip(both.components, own, strict=True)
    )
    limits = one
    if both.prepared.flags.exits:
        first, last = torch.minimum(one, two)[..., 0], torch.maximum(one, two)[..., 1]
        limits = torch.stack([first, last], -1)
    return Components(*(each._replace(limits=limits) for each in own))


def _run_queries(
    both: Both, results: Components, outward: Components, blocks: Blocks
) -> BothQueries:
    """Launch the pass over queries with blocks of some sizes."""
    tokens, directions = both.directions.along, both.prepared.flags.directions
    heads, queries, _ = tokens.shape
    programs = triton.cdiv(queries, blocks.queries) * heads

    def through() -> ThroughQueries:
        return ThroughQueries(
            tokens.new_zeros(tokens.shape, dtype=F32),
            tokens.new_zeros((heads, queries), dtype=F32),
            tokens.new_zeros((heads, queries), dtype=F32),
            tokens.new_zeros((heads, queries, directions), dtype=F32),
            tokens.new_zeros((heads, triton.cdiv(queries, blocks.queries), 5), dtype=F32),
        )

    grads = BothQueries(through(), through(), tokens.new_zeros((heads, queries), dtype=F32))
    given, own = (results, outward, grads), both.components
    launch(both_query_kernel, programs, both.prepared, blocks, *given, components=own)
    return grads


def _run_keys(both: Both, results: Components, outward: Components, blocks: Blocks) -> ThroughKeys:
    """Launch the pass over keys with blocks of some sizes."""
    (tokens, value, *_), directions = both.prepared.keys.radial, both.prepared.flags.directions
    heads, keys, _ = tokens.shape
    levels = (tokens.new_zeros((heads, keys, directions), dtype=F32) for _ in range(2))
    shares = heads, triton.cdiv(keys, blocks.keys), 3
    grads = ThroughKeys(
        torch.zeros_like(tokens),
        torch.zeros_like(value),
        tokens.new_zeros((heads, keys), dtype=F32),
        Components(*levels),
        visits_of(both.components.radial, results.radial.limits, blocks.keys),
        Components(*(tokens.new_zeros(shares, dtype=F32) for _ in range(2))),
    )
    programs = triton.cdiv(keys, blocks.keys) * heads
    launch(
        both_key_kernel, programs, both.prepared, blocks, results, outward, grads,
        transposed=True, components=both.components,
    )  # fmt: skip
    return grads


def _query_gradients(both: Both, found: BothQueries) -> Any:
    """Return gradients in queries from those in u, in i u and in √c‖q‖."""
    along, _, lengths, _ = both.directions
    real, imag = found.radial.tokens.chunk(2, -1)
    real_across, imag_across = found.tangential.tokens.chunk(2, -1)
    grad_u = torch.cat([real + imag_across, imag - real_across], -1)
    u, root = along.to(F32), both.components.radial.model[:, 3].sqrt()[:, None, None]
    across = grad_u - u * (u * grad_u).sum(-1, keepdim=True)
    there = lengths > 0.0
    across = torch.where(there, across / torch.where(there, lengths, 1.0), 0.0)
    return across + root * found.length[..., None] * u


def _gradients(
    operands: Any, static: StaticProblem, both: Both, results: Components, outward: Components,
    of_queries: BothQueries, of_keys: ThroughKeys,
) -> Operands:  # fmt: skip
    """Return the gradients in all operands from those of both passes."""
    pair = of_queries.radial, of_queries.tangential
    (decay, process, measurement, dof, by_beta), (other, process2, measurement2, *_) = (
        of_parameters(*each) for each in zip((x.model for x in pair), of_keys.model, strict=True)
    )
    priors = [prior_gradients(component(operands, s), results[s], outward[s]) for s in range(2)]
    noise, own = torch.stack([each.noise for each in pair], -1), operands.query_variance.shape[-1]
    shared = noise.to(torch.float64).sum(1)
    if static.has_temperature:
        by_beta = by_beta + priors[0][1] + priors[1][1]
    found: Any = Operands(
        _query_gradients(both, of_queries),
        of_keys.tokens,
        of_keys.value,
        pair[0].times + pair[1].times,
        of_keys.times,
        decay + other,
        torch.stack([process, process2], -1),
        torch.stack([measurement, measurement2], -1),
        torch.zeros_like(shared) if own else shared,
        dof,
        by_beta,
        noise if own else operands.query_variance,
        torch.stack([each.level for each in pair], -1),
        torch.stack(list(of_keys.level), -1),
        torch.cat([each for each, _ in priors], -1),
    )
    return Operands(*(x.reshape(y.shape).to(y.dtype) for x, y in zip(found, operands, strict=True)))
