"""The derivatives of attention over tiles, to second order in either mode, in O(n + m) memory.

With J the derivative of the results f in the operands x, Jt is the forward evaluated with tangents,
and Jᵀg the backward. Derivatives of these are Σ_k g_k ∇²f_k t, which is Jᵀg differentiated along t
and, since ∇²f_k is symmetric, its own transpose in t, and Σ ∇²f t s, which is Jt along s.

Kernels evaluate f and Jᵀg, where a program has any; the other derivatives are those of its loops.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

import jax
import jax.numpy as jnp

from afa_core.streaming.forward.sums import StreamResult
from afa_core.streaming.operands import Operands
from afa_jax.linear import linear
from afa_jax.streaming import Program, backward, forward

Value = TypeVar("Value")

Results = tuple[Any, Any]
"""The mean and the precision, or gradients in them."""


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def stream(program: Program, operands: Operands, mask: Any) -> StreamResult:
    """Estimate the state at every query; only the mean and the precision have derivatives."""
    evaluate = program.kernels.forward if program.kernels else forward
    return cast(StreamResult, evaluate(program, operands, mask))


@stream.defjvp
def _stream_jvp(program: Program, primals: Any, tangents: Any) -> tuple[StreamResult, StreamResult]:
    result = stream(program, *primals)
    functions = partial(_push, program), partial(_pull, program)
    mean, precision = linear(*functions, (*primals, result), tangents[0], result[:2])
    zeros = jnp.zeros_like(result.peak), jnp.zeros_like(result.total)
    return result, StreamResult(mean, precision, *zeros)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _push(program: Program, constants: Any, along: Operands) -> Results:
    """Return Jt."""
    operands, mask, _ = constants
    return _tangents(program, operands, mask, along)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _pull(program: Program, constants: Any, grads: Results) -> Operands:
    """Return Jᵀg."""
    operands, mask, result = constants
    evaluate = program.kernels.backward if program.kernels else backward
    return cast(Operands, evaluate(program, operands, mask, result, *grads))


def in_loops(program: Program, operands: Operands) -> tuple[Program, Operands]:
    """Return a program without kernels, and operands whose tokens have the dtype of parameters."""
    tokens = {name: getattr(operands, name) for name in ("query", "key", "value")}
    dtype: Any = operands.decay.dtype
    tokens = {name: x.astype(dtype) for name, x in tokens.items()}
    return program._replace(kernels=None), operands._replace(**tokens)


def _results(program: Program, mask: Any, operands: Operands) -> Results:
    program, operands = in_loops(program, operands)
    result = forward(program, operands, mask)
    return result.mean, result.precision


def _tangents(program: Program, operands: Operands, mask: Any, along: Operands) -> Results:
    """Return Jt, to be differentiated by JAX."""
    function = partial(_results, program, mask)
    return _derivative(function, operands, along)


def _curvature(program: Program, constants: Any, along: Operands, grads: Results) -> Operands:
    """Return Σ_k g_k ∇²f_k t."""
    operands, mask, _ = constants

    def gradient(x: Operands) -> Operands:
        loops, wide = in_loops(program, x)
        found = backward(loops, wide, mask, forward(loops, wide, mask), *grads)
        return cast(Operands, jax.tree.map(lambda y, like: y.astype(like.dtype), found, x))

    return _derivative(gradient, operands, along)


@_push.defjvp
def _push_jvp(program: Program, primals: Any, tangents: Any) -> tuple[Results, Results]:
    constants, along = primals
    (moved, *_), others = tangents
    results = _push(program, constants, along)

    def pushed(given: Any, second: Operands) -> Results:
        (operands, mask, _), along = given
        return _derivative(lambda x: _tangents(program, x, mask, along), operands, second)

    def pulled(given: Any, grads: Results) -> Operands:
        constants, along = given
        return _curvature(program, constants, along, grads)

    changed = linear(pushed, pulled, (constants, along), moved, results)
    functions = partial(_push, program), partial(_pull, program)
    return results, _sum(linear(*functions, constants, others, results), changed)


@_pull.defjvp
def _pull_jvp(program: Program, primals: Any, tangents: Any) -> tuple[Operands, Operands]:
    constants, grads = primals
    (moved, *_), others = tangents  # that of the result is the one that the operands give it
    found = _pull(program, constants, grads)

    def curved(given: Any, along: Operands) -> Operands:
        constants, grads = given
        return _curvature(program, constants, along, grads)

    changed = linear(curved, curved, (constants, grads), moved, found)
    functions = partial(_pull, program), partial(_push, program)
    return found, _sum(linear(*functions, constants, others, found), changed)


def _derivative(function: Callable[[Operands], Value], at: Operands, along: Operands) -> Value:
    """Return the derivative of a function at some operands along others."""
    return cast(Value, jax.jvp(function, (at,), (along,))[1])


def _sum(one: Value, other: Value) -> Value:
    return cast(Value, jax.tree.map(jnp.add, one, other))
