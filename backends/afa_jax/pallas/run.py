"""Launches of kernels, with what is formed around them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from afa_core.streaming.forward.sums import StreamResult
from afa_core.streaming.operands import Operands, StaticProblem
from afa_jax.division import varying_axes
from afa_jax.pallas.arguments import Blocks, Flags, Inputs, Rows, of_block, whole
from afa_jax.pallas.factors import (
    F32,
    factors,
    in_directions,
    pad,
    pad_channels,
    references_of,
    sides_of,
    timing_of,
)
from afa_jax.pallas.forward import Results, forward_kernel
from afa_jax.pallas.gradients import SideGradients
from afa_jax.pallas.key_gradients import KeyGradients, key_kernel
from afa_jax.pallas.prepare import far_weights, flags_of, prepare
from afa_jax.pallas.query_gradients import ParameterGradients, QueryGradients, query_kernel
from afa_jax.pallas.spans import bounds, spans_of_keys, within_limits


def launch(
    kernel: Callable[..., None], inputs: Inputs, results: Any, flags: Flags, blocks: Blocks,
    *, interpret: bool,
) -> Any:  # fmt: skip
    """Run a kernel for all blocks of all heads."""
    own, other = inputs.queries, inputs.keys
    size, tokens = flags.block_q, flags.queries
    if flags.transposed:
        own, other, size, tokens = other, own, flags.block_k, flags.keys
    mask, specs = inputs.mask, [of_block(own, size), whole(other)]
    by_mask = whole(mask)
    if mask is not None and (flags.transposed or mask.shape[1] > 1):
        axis = 2 if flags.transposed else 1
        by_mask = of_block(mask, size, axis)
    specs = specs[::-1] if flags.transposed else specs
    in_specs: Any = jax.tree.map(whole, inputs, is_leaf=lambda x: x is not inputs)
    in_specs = in_specs._replace(queries=specs[0], keys=specs[1], mask=by_mask)
    heads, count = own.tokens.shape[0], -(-tokens // size)
    axes = varying_axes(inputs)
    shapes = jax.tree.map(lambda x: array_type(x.shape, x.dtype, axes), results)

    def out_spec(x: Any) -> Any:
        rest = (0,) * (len(x.shape) - 2)
        length = None if x.dtype == jnp.int32 else size  # numbers of blocks, not of tokens
        return pl.BlockSpec((None, length, *x.shape[2:]), lambda h, b: (h, b, *rest))

    def program(given: Any, *found: Any) -> None:
        kernel(given, type(results)(*found), flags=flags)

    program.__name__ = kernel.__name__
    call: Any = pl.pallas_call(
        program,
        shapes,
        grid=(heads, count),
        in_specs=(in_specs,),
        out_specs=jax.tree.map(out_spec, shapes),
        interpret=interpret,
        compiler_params=triton.CompilerParams(num_warps=blocks.warps, num_stages=blocks.stages),
    )
    return call(inputs)


def array_type(shape: tuple[int, ...], dtype: Any = F32, axes: Any = frozenset()) -> Any:
    """Return the type of a result, which varies along the axes of a mapped function."""
    struct: Any = jax.ShapeDtypeStruct
    return struct(shape, dtype, vma=axes) if axes else struct(shape, dtype)


def forward(
    operands: Operands, static: StaticProblem, mask: Any, blocks: Blocks, *, interpret: bool
) -> tuple[StreamResult, Any]:
    """Return the estimates, and the first tile of each block of queries and that after the last."""
    own: Any = operands
    flags = flags_of(operands, static, blocks, mask)
    inputs = prepare(operands, static, flags, mask)
    heads, tokens = own.query.shape[0], inputs.queries.tokens.shape[1]
    column = array_type((heads, tokens))
    results = Results(
        array_type((heads, tokens, inputs.keys.value.shape[-1])),
        column,
        column,
        column,
        array_type((heads, tokens // flags.block_q, 2), jnp.int32),
    )
    found = launch(forward_kernel, inputs, results, flags, blocks, interpret=interpret)
    count, width = flags.queries, own.value.shape[-1]
    columns = (x[:, :count, None] for x in found[1:4])
    return StreamResult(found.mean[:, :count, :width], *columns), found.visited


def backward(
    operands: Operands, static: StaticProblem, mask: Any, blocks: Blocks, result: StreamResult,
    grad_mean: Any, grad_precision: Any, *, interpret: bool,
) -> Operands:  # fmt: skip
    """Return the gradients in all operands."""
    flags = flags_of(operands, static, blocks, mask)._replace(share=None)
    inputs = prepare(operands, static, flags, mask)
    rows, outward = rows_of(inputs, flags, result, grad_mean, grad_precision)
    inputs = inputs._replace(queries=inputs.queries._replace(value=outward, rows=rows), raw=None)
    spans = inputs.spans
    share = flags_of(operands, static, blocks, mask).share
    if share is not None:
        slack = _slack(operands, result, share, flags)
        spans = within_limits(spans, far_weights(operands, flags), slack, flags)
    run = partial(launch, blocks=blocks, interpret=interpret)
    shapes = _shapes_of_queries(inputs, flags)
    of_queries = run(query_kernel, inputs._replace(spans=spans), shapes, flags)
    by_keys = inputs._replace(spans=spans_of_keys(spans, flags))
    transposed = flags._replace(transposed=True)
    of_keys = run(key_kernel, by_keys, _shapes_of_keys(inputs, flags), transposed)
    return _gradients(operands, static, flags, (of_queries, of_keys), (result, rows))


def rows_of(
    inputs: Inputs, flags: Flags, result: Any, grad_mean: Any, grad_precision: Any
) -> tuple[Rows, Any]:
    """Return what gradients of weights are computed from, and the gradient in the estimates."""
    total, peak = result.total, result.peak
    inverse = jnp.where(total > 0.0, 1.0 / jnp.where(total > 0.0, total, 1.0), 0.0)
    mean = jnp.where(jnp.isfinite(result.mean), result.mean, 0.0)
    through = -jnp.sum(grad_mean * mean, axis=-1, keepdims=True) * inverse
    direct = jnp.zeros_like(through)
    if flags.has_temperature:
        direct = grad_precision
    else:
        unit, powers = (inputs.model[:, i, None, None] for i in (6, 7))
        scale = jnp.where(powers > 0.0, 1.0 if flags.directions else 1.0 / unit, jnp.exp(peak))
        through = through + grad_precision * scale
    columns = (pad(x[..., 0].astype(F32), flags.block_q) for x in (peak, inverse, through, direct))
    outward = grad_mean.astype(inputs.keys.value.dtype)
    return Rows(*columns), pad_channels(pad(outward, flags.block_q))


def _slack(operands: Operands, result: Any, share: float, flags: Flags) -> Any:
    """Return the share of each query block less the levels of its queries, in the widest dtype."""
    own: Any = operands
    levels = [jnp.sum(x, axis=-1) for x in in_directions(own.query_level, flags)]
    there = result.total > 0.0
    log_total = jnp.log(jnp.where(there, result.total, 1.0))
    log_total = jnp.where(there, result.peak + log_total, -jnp.inf)[..., 0]
    most = [bounds(x - log_total, flags.block_q).greatest for x in levels]
    return share - jnp.stack(most, axis=-1)


def _shapes_of_queries(inputs: Inputs, flags: Flags) -> QueryGradients:
    tokens: Any = inputs.queries.tokens
    column = array_type(tokens.shape[:2])
    side = SideGradients(column, column)
    dof = column if {-1, 1} & {*flags.powers} else None
    beta = column if flags.has_temperature else None
    return QueryGradients(
        array_type(tokens.shape),
        column,
        column,
        (column,) * flags.directions,
        (side,) * sides_of(flags),
        ParameterGradients(column, column, column, dof, beta),
    )


def _shapes_of_keys(inputs: Inputs, flags: Flags) -> KeyGradients:
    keys: Any = inputs.keys
    column = array_type(keys.tokens.shape[:2])
    side = SideGradients(column, column)
    return KeyGradients(
        array_type(keys.tokens.shape),
        array_type(keys.value.shape),
        column,
        (column,) * flags.directions,
        (side,) * sides_of(flags),
    )


def _gradients(
    operands: Any, static: StaticProblem, flags: Flags,
    both: tuple[QueryGradients, KeyGradients], rows: tuple[Any, Rows],
) -> Operands:  # fmt: skip
    """Return the gradients in all operands from those of both passes."""
    queries, keys = flags.queries, flags.keys
    of_queries = jax.tree.map(lambda x: x[:, :queries], both[0])
    of_keys = jax.tree.map(lambda x: x[:, :keys], both[1])
    timing = timing_of(operands)
    references = references_of(timing, flags)
    _, pull = jax.vjp(lambda x: factors(x, references, flags), timing)
    sides = ([tuple(x) for x in each.sides] for each in (of_queries, of_keys))
    (by,) = pull(tuple(sides))
    parameters = of_queries.parameters
    noise, own = (by.noise + of_queries.noise)[..., None], operands.query_variance.shape[-1] > 0
    shared = jnp.sum(noise, axis=1, keepdims=True)
    missing, by_missing = _prior_gradients(operands, rows, flags)
    dof, beta = parameters.dof, parameters.inverse_temperature
    found: Any = Operands(
        of_queries.tokens[..., : operands.query.shape[-1]],
        of_keys.tokens[..., : operands.key.shape[-1]],
        of_keys.value[..., : operands.value.shape[-1]],
        by.query_times + of_queries.times,
        by.key_times + of_keys.times,
        by.decay + jnp.sum(parameters.decay, axis=1, keepdims=True),
        by.process + jnp.sum(parameters.process, axis=1, keepdims=True),
        by.measurement + jnp.sum(parameters.measurement, axis=1, keepdims=True),
        jnp.zeros_like(shared) if own else shared,
        jnp.zeros_like(operands.dof) if dof is None else jnp.sum(dof, axis=1),
        jnp.zeros_like(operands.dof) if beta is None else jnp.sum(beta, axis=1) + by_missing,
        noise if own else operands.query_variance,
        _level_gradients(of_queries.levels, operands.query_level),
        _level_gradients(of_keys.levels, operands.key_level),
        missing,
    )
    pairs = zip(found, operands, strict=True)
    return Operands(*(x.reshape(y.shape).astype(y.dtype) for x, y in pairs))


def _level_gradients(grads: tuple[Any, ...], like: Any) -> Any:
    """Return the gradients in levels, whose terms in a direction share one."""
    if not grads:
        return like
    return jnp.repeat(jnp.stack(grads, axis=-1), like.shape[2] // len(grads), axis=2)


def _prior_gradients(operands: Any, rows: tuple[Any, Rows], flags: Flags) -> tuple[Any, Any]:
    """Return the gradients in the logarithm of the weight of the prior's mean, and through β."""
    missing, (result, own) = operands.missing, rows
    if not missing.shape[-1]:
        return missing, 0.0
    through, direct = (x[:, : flags.queries, None] for x in (own.through, own.direct))
    there = missing > -jnp.inf
    level = jnp.where(there, missing, 0.0)
    beta = operands.inverse_temperature.astype(level.dtype)
    peak = jnp.where(result.peak > -jnp.inf, result.peak, 0.0)
    weight = jnp.where(there, jnp.exp(beta * level - peak) * through, 0.0)
    direct = jnp.where(there, direct * jnp.exp(level), 0.0)
    return beta * weight + direct, jnp.sum(weight * level, axis=(1, 2))


def tiles(static: StaticProblem, blocks: Blocks) -> int:
    """Return how many tiles have a visible pair, but for the mask."""
    queries, keys, causal, _ = static.visibility
    starts = range(0, queries, blocks.queries)
    ends = (min(start + blocks.queries, queries) + keys - queries for start in starts)
    every = -(-keys // blocks.keys)
    return sum(-(-min(max(end, 0), keys) // blocks.keys) if causal else every for end in ends)
