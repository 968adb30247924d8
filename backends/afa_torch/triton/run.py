"""Launches of the kernels of the isotropic form, with what is formed around them."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import triton

from afa_core.streaming.operands import Operands, StaticProblem
from afa_torch.triton.across import across_kernel
from afa_torch.triton.arguments import ENDS, FIELDS, Across, Flags, Outward, Results
from afa_torch.triton.forward import forward_kernel
from afa_torch.triton.key_gradients import ThroughKeys, key_kernel
from afa_torch.triton.prepare import Prepared, prepare
from afa_torch.triton.query_gradients import ThroughQueries, query_kernel
from afa_torch.triton.splits import of_shares, with_splits
from afa_torch.triton.tuning import Blocks, run_fastest

F32 = torch.float32


def forward(operands: Operands, static: StaticProblem, most: int) -> Results:
    """Return the estimates, by blocks of at most so many queries."""
    found: Results = run_fastest("forward", prepare(operands, static), most, _run_forward)
    return found


def backward(
    operands: Operands,
    static: StaticProblem,
    most: int,
    found: list[Any],
    grad_mean: Any,
    grad_precision: Any,
) -> Operands:
    """Return the gradients in all operands, given the results but for limits."""
    prepared = prepare(operands, static)
    mean, precision, peak, total = found
    results = Results(mean, precision, peak, total, limits_of(prepared, peak, total))
    outward = outward_of(prepared, results, grad_mean.to(F32), grad_precision.to(F32))
    given = results, outward
    of_queries: ThroughQueries = run_fastest("queries", prepared, most, _run_queries, *given)
    of_keys: ThroughKeys = run_fastest("keys", prepared, most, _run_keys, *given)
    return _gradients(operands, static, results, outward, of_queries, of_keys)


def new_results(prepared: Prepared, heads: int, value: Any) -> Results:
    """Return where the results of one component are written, of each share of the keys."""
    queries, heads = prepared.numbers.queries, prepared.numbers.splits * heads
    return Results(
        value.new_empty((heads, queries, value.shape[-1]), dtype=F32),
        value.new_empty((heads, queries, 1), dtype=F32),
        value.new_empty((heads, queries, 1), dtype=F32),
        value.new_empty((heads, queries, 1), dtype=F32),
        value.new_empty((heads, queries, 2), dtype=torch.int32),
    )


def _run_forward(prepared: Prepared, blocks: Blocks) -> Results:
    """Launch the forward with blocks of some sizes."""
    heads, queries, _ = prepared.queries.tokens.shape
    programs = triton.cdiv(queries, blocks.queries) * heads
    prepared = with_splits(prepared, programs, blocks)
    results = new_results(prepared, heads, prepared.keys.value)
    launch(forward_kernel, programs, prepared, blocks, results)
    return of_shares(results, prepared.numbers.splits)


def _run_queries(
    prepared: Prepared, results: Results, outward: Outward, blocks: Blocks
) -> ThroughQueries:
    """Launch the pass over queries with blocks of some sizes."""
    tokens, directions = prepared.queries.tokens, prepared.flags.directions
    heads, queries, _ = tokens.shape
    programs = triton.cdiv(queries, blocks.queries) * heads
    grads = ThroughQueries(
        torch.zeros_like(tokens),
        tokens.new_zeros((heads, queries), dtype=F32),
        tokens.new_zeros((heads, queries), dtype=F32),
        tokens.new_zeros((heads, queries, directions), dtype=F32),
        tokens.new_zeros((heads, triton.cdiv(queries, blocks.queries), 5), dtype=F32),
    )
    launch(query_kernel, programs, prepared, blocks, results, outward, grads)
    return grads


def _run_keys(
    prepared: Prepared, results: Results, outward: Outward, blocks: Blocks
) -> ThroughKeys:
    """Launch the pass over keys with blocks of some sizes."""
    (tokens, value, *_), directions = prepared.keys, prepared.flags.directions
    heads, keys, _ = tokens.shape
    programs = triton.cdiv(keys, blocks.keys) * heads
    grads = ThroughKeys(
        torch.zeros_like(tokens),
        torch.zeros_like(value),
        tokens.new_zeros((heads, keys), dtype=F32),
        tokens.new_zeros((heads, keys, directions), dtype=F32),
        visits_of(prepared, results.limits, blocks.keys),
        tokens.new_zeros((heads, triton.cdiv(keys, blocks.keys), 3), dtype=F32),
    )
    launch(key_kernel, programs, prepared, blocks, results, outward, grads, transposed=True)
    return grads


def launch(
    kernel: Any, programs: int, prepared: Prepared, blocks: Blocks, *arguments: Any,
    transposed: bool = False, components: Any = (),
) -> None:  # fmt: skip
    """Launch a kernel for the heads whose weights are powers, and for the others.

    The problems of components, if there are any, differ in what is known of the second axis.
    """
    own = prepared.flags._replace(
        block_q=blocks.queries, block_k=blocks.keys, transposed=transposed
    )
    problems = components or (prepared,)
    found = [_new_across(each, own) for each in problems]
    across = type(components)(*found) if components else found[0]
    with _without_warnings(own):
        for power in prepared.powers:
            flags = own._replace(power=power)
            for problem, each in zip(problems, found, strict=True):
                others = each.ends.shape[0] * each.ends.shape[1]
                across_kernel[(others,)](*problem[:5], each, flags, num_warps=1)
            kernel[programs, prepared.numbers.splits](
                *prepared[:5], across, *arguments, flags,
                num_warps=blocks.warps, num_stages=blocks.stages,
            )  # fmt: skip


def _new_across(prepared: Prepared, flags: Flags) -> Across:
    """Return where what is known of the second axis of tiles is written."""
    (queries, keys, *_), heads = prepared.numbers, len(prepared.model)
    device = prepared.mask.device
    number, size = (queries, flags.block_q) if flags.transposed else (keys, flags.block_k)
    sides, blocks = 2 - flags.causal, triton.cdiv(number, size)
    return Across(
        torch.empty((heads, sides, FIELDS.value, number), dtype=F32, device=device),
        torch.empty((heads, blocks, ENDS.value), dtype=torch.float64, device=device),
    )


def _without_warnings(flags: Flags) -> AbstractContextManager[None]:
    """Ignore numbers that the interpreter, NumPy, evaluates but does not choose."""
    if not flags.interpreted:
        return nullcontext()
    import numpy as np

    return np.errstate(all="ignore")


def limits_of(prepared: Prepared, peak: Any, total: Any) -> Any:
    """Return the first key that each query visits, and the one after the last, (g, n, 2).

    Keys that are left out have at most a share of the weight, as in the forward.
    """
    if not prepared.flags.exits:
        return peak.new_empty(1, dtype=torch.int32)
    keys, far = prepared.numbers.keys, prepared.keys.far
    log_total = peak + torch.where(total > 0.0, total, 0.0).log()
    bound = log_total.to(far.dtype) + prepared.numbers.share - prepared.queries.level
    first = torch.searchsorted(far[..., 0].contiguous(), bound[..., 0].contiguous(), right=True)
    farthest_first = far[..., -1].flip(1).contiguous()
    last = keys - torch.searchsorted(farthest_first, bound[..., -1].contiguous(), right=True)
    if prepared.flags.directions == 1:
        last = torch.full_like(first, keys)
    return torch.stack([first, last], -1).to(torch.int32)


def visits_of(prepared: Prepared, limits: Any, size: int) -> Any:
    """Return the first query that visits each block of keys, and the one after the last."""
    if not prepared.flags.exits:
        return limits
    keys = prepared.numbers.keys
    start = torch.arange(0, keys, size, dtype=torch.int32, device=limits.device)
    start = start.expand(limits.shape[0], -1).contiguous()
    first = limits[..., 0].flip(1).cummin(1).values.flip(1).contiguous()
    last = limits[..., 1].cummax(1).values.contiguous()
    begin = torch.searchsorted(last, start, right=True)
    end = torch.searchsorted(first, (start + size).clamp(max=keys))
    return torch.stack([begin, end], -1).to(torch.int32)


def outward_of(
    prepared: Prepared, results: Results, grad_mean: Any, grad_precision: Any
) -> Outward:
    """Return the gradients in results as kernels take them."""
    flags, total = prepared.flags, results.total
    inverse = torch.where(total > 0.0, 1.0 / torch.where(total > 0.0, total, 1.0), 0.0)
    grad_mean = grad_mean * inverse
    through = -(grad_mean * results.mean).sum(-1, keepdim=True)
    direct = torch.zeros_like(through)
    if flags.has_temperature:
        direct = grad_precision
    else:
        unit, powers = (x[:, None, None] for x in prepared.model[:, 6:].unbind(-1))
        as_powers = 1.0 if flags.directions else 1.0 / unit
        scale = torch.where(powers > 0.0, as_powers, torch.exp(results.peak))
        through = through + grad_precision * scale
    dtype = prepared.queries.tokens.dtype
    return Outward(grad_mean.to(dtype).contiguous(), through.contiguous(), direct.contiguous())


def _gradients(
    operands: Any, static: StaticProblem, results: Results, outward: Outward,
    of_queries: ThroughQueries, of_keys: ThroughKeys,
) -> Operands:  # fmt: skip
    """Return the gradients in all operands from those of both passes."""
    decay, process, measurement, dof, beta = of_parameters(of_queries.model, of_keys.model)
    missing, by_missing = prior_gradients(operands, results, outward)
    noise, own = of_queries.noise[..., None], operands.query_variance.shape[-1] > 0
    shared = noise.to(torch.float64).sum(1)
    found: Any = Operands(
        of_queries.tokens,
        of_keys.tokens,
        of_keys.value,
        of_queries.times,
        of_keys.times,
        decay,
        process,
        measurement,
        torch.zeros_like(shared) if own else shared,
        dof,
        beta + by_missing if static.has_temperature else beta,
        noise if own else operands.query_variance,
        of_queries.level,
        of_keys.level,
        missing,
    )
    return Operands(*(x.reshape(y.shape).to(y.dtype) for x, y in zip(found, operands, strict=True)))


def of_parameters(of_queries: Any, of_keys: Any) -> tuple[Any, ...]:
    """Return the gradients in parameters from the shares of blocks of queries and of keys."""
    queries, keys = (x.to(torch.float64).sum(1) for x in (of_queries, of_keys))
    through_lags = queries[:, :3] + keys
    return *through_lags.unbind(-1), *queries[:, 3:].unbind(-1)


def prior_gradients(operands: Any, results: Results, outward: Outward) -> tuple[Any, Any]:
    """Return the gradients in the logarithm of the weight of the prior's mean, and through β."""
    missing, peak = operands.missing, results.peak
    if not missing.shape[-1]:
        return torch.zeros_like(missing), 0.0
    there = missing > -torch.inf
    level = torch.where(there, missing, 0.0)
    beta = operands.inverse_temperature.to(level.dtype)
    weight = torch.exp(beta * level - torch.where(peak > -torch.inf, peak, 0.0)) * outward.through
    weight = torch.where(there, weight, 0.0)
    direct = torch.where(there, outward.direct * torch.exp(level), 0.0)
    return beta * weight + direct, (weight * level).sum((1, 2))
