"""Attention over tiles as one operator of PyTorch, for autograd and compilers.

The operators ``afa::stream`` and ``afa::stream_backward`` are opaque to `torch.compile`, so that
tiles are not unrolled into its graphs; `torch.func` differentiates and maps them. They have neither
second derivatives nor those in forward mode, and raise an error that names the reference.
"""

from __future__ import annotations

from typing import Any

import torch
from array_api_compat import torch as namespace

from afa_core._array.masks import Visibility
from afa_core._array.products import full_precision
from afa_core.model import sde, weighting
from afa_core.streaming.backward.run import backward
from afa_core.streaming.blocks import Sizes
from afa_core.streaming.forward.run import forward
from afa_core.streaming.forward.sums import StreamResult
from afa_core.streaming.operands import Operands, StaticProblem
from afa_torch import fused
from afa_torch.derivatives import has_tangent
from afa_torch.mapped_heads import fold, fold_mask, unfold
from afa_torch.operations import operations
from afa_torch.triton import engine as triton

OPERANDS, RESULTS = len(Operands._fields), len(StreamResult._fields)
XP: Any = namespace
COMPILED: dict[str, Any] = {"fused": fused, "triton": triton}
"""Implementations beside that of the operations of PyTorch."""

NO_DERIVATIVES = (
    "attention over tiles has no second derivative, and none in forward mode. "
    "Pass implementation='reference', which has both."
)

Statics = tuple[str, list[int], float, list[int]]
"""A problem without its tensors: names of form, weighting and implementation, numbers and flags,
the tolerance of early exit, leading axes."""


def pack_statics(
    static: StaticProblem,
    sizes: Sizes,
    *,
    return_precision: bool,
    implementation: str = "streaming",
) -> Statics:
    """Return what the operators take beside tensors."""
    flags = (
        static.power,
        static.has_temperature,
        static.regular,
        static.visibility.causal,
        return_precision,
    )
    numbers = [static.modes, static.directions, *(int(each) for each in flags), *sizes]
    kind = f"{static.form.__name__} {static.weighting.__name__} {implementation}"
    return kind, numbers, static.tolerance, list(static.leading)


def _unpack(
    tensors: list[Any],
    mask: Any,
    kind: str,
    numbers: list[int],
    tolerance: float,
    leading: list[int],
) -> tuple[Operands, StaticProblem, Sizes, bool, Any]:
    modes, directions, power, has_temperature, regular, causal, *rest = numbers
    return_precision, *sizes = rest
    operands, (form, weights, implementation) = Operands(*tensors), kind.split()
    static = StaticProblem(
        tuple(leading),
        modes,
        getattr(sde, form),
        getattr(weighting, weights),
        power,
        bool(has_temperature),
        bool(regular),
        Visibility(operands.query.shape[1], operands.key.shape[1], bool(causal), mask),
        directions,
        tolerance,
    )
    return operands, static, Sizes(*sizes), bool(return_precision), COMPILED.get(implementation)


def _forward(tensors: list[Any], mask: Any, *statics: Any) -> tuple[Any, ...]:
    operands, static, sizes, precision, compiled = _unpack(tensors, mask, *statics)
    found = compiled.forward(operands, static, sizes) if compiled else None
    if found is not None:
        return tuple(found)
    ops = operations(tensors[0].device)
    with full_precision(tensors[0], xp=XP):
        return tuple(forward(operands, static, sizes, ops, return_precision=precision, xp=XP))


def _forward_shapes(tensors: list[Any], mask: Any, *statics: Any) -> tuple[Any, ...]:
    query, value = tensors[0], tensors[2]
    rows = query.shape[:2]
    _, static, *_ = _unpack(tensors, mask, *statics)
    widths = (value.shape[-1] * static.estimates, *(static.components,) * 3)
    dtype = torch.promote_types(query.dtype, torch.float32)
    return tuple(query.new_empty((*rows, width), dtype=dtype) for width in widths)


def _backward(
    tensors: list[Any],
    mask: Any,
    result: list[Any],
    grad_mean: Any,
    grad_precision: Any,
    *statics: Any,
) -> list[Any]:
    operands, static, sizes, _, compiled = _unpack(tensors, mask, *statics)
    grads = (grad_mean, grad_precision)
    given, found = [*result, *grads], None
    if compiled:
        found = compiled.backward(operands, static, sizes, given)
    if found is not None:
        return list(found)
    ops = operations(tensors[0].device)
    with full_precision(tensors[0], xp=XP):
        return list(backward(operands, static, sizes, ops, StreamResult(*result), *grads, xp=XP))


def _backward_shapes(tensors: list[Any], *_: Any) -> list[Any]:
    return [torch.empty_like(x) for x in tensors]


def _map_forward(info: Any, axes: Any, tensors: Any, mask: Any, *statics: Any) -> Any:
    *others, leading = statics
    found = torch.ops.afa.stream(
        fold(info, axes[0], tensors),
        fold_mask(axes[1], mask, leading),
        *others,
        [info.batch_size, *leading],
    )
    return tuple(unfold(info, found)), (0,) * RESULTS


def _map_backward(
    info: Any, axes: Any, tensors: Any, mask: Any, result: Any, grad_mean: Any, grad_precision: Any,
    *statics: Any,
) -> Any:  # fmt: skip
    *others, leading = statics
    found = torch.ops.afa.stream_backward(
        fold(info, axes[0], tensors),
        fold_mask(axes[1], mask, leading),
        fold(info, axes[2], result),
        *fold(info, axes[3:5], [grad_mean, grad_precision]),
        *others,
        [info.batch_size, *leading],
    )
    return unfold(info, found), [0] * OPERANDS


def _register(name: str, schema: str, function: Any, shapes: Any, mapped: Any) -> None:
    torch.library.define(name, schema)
    torch.library.impl(name, "CompositeExplicitAutograd", function)
    torch.library.register_fake(name, shapes)
    torch.library.register_vmap(name, mapped)


_register(
    "afa::stream",
    "(Tensor[] operands, Tensor? mask, str kind, int[] numbers, float tolerance, int[] leading)"
    " -> (Tensor, Tensor, Tensor, Tensor)",
    _forward,
    _forward_shapes,
    _map_forward,
)
_register(
    "afa::stream_backward",
    "(Tensor[] operands, Tensor? mask, Tensor[] result, Tensor grad_mean, Tensor grad_precision,"
    " str kind, int[] numbers, float tolerance, int[] leading) -> Tensor[]",
    _backward,
    _backward_shapes,
    _map_backward,
)


class _Stream(torch.autograd.Function):
    """The operator with its derivative, as compilers follow it."""

    generate_vmap_rule = True

    @staticmethod
    def forward(mask: Any, statics: Statics, *tensors: Any) -> Any:
        return torch.ops.afa.stream(list(tensors), mask, *statics)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        mask, ctx.statics, *tensors = inputs
        ctx.save_for_backward(mask, *tensors, *output)
        ctx.mark_non_differentiable(*output[2:])

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        mask, *saved = ctx.saved_tensors
        inputs = (mask, ctx.statics, *grads[:2], *saved)  # gradients of mean and precision
        # a compiler refuses second derivatives itself, and follows no function in a function
        compiling = torch.compiler.is_compiling()
        run = _StreamBackward.forward if compiling else _StreamBackward.apply
        return None, None, *run(*inputs)


class _EagerStream(_Stream):
    """The operator for autograd and `torch.func`, with the error of its forward mode."""

    @staticmethod
    def jvp(ctx: Any, *_: Any) -> Any:
        raise RuntimeError(NO_DERIVATIVES)


class _StreamBackward(torch.autograd.Function):
    """The backward of the operator, which has no derivative of its own."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        mask: Any, statics: Statics, grad_mean: Any, grad_precision: Any, *saved: Any
    ) -> Any:
        tensors, result = list(saved[:OPERANDS]), list(saved[OPERANDS:])
        run = torch.ops.afa.stream_backward
        return tuple(run(tensors, mask, result, grad_mean, grad_precision, *statics))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def jvp(ctx: Any, *_: Any) -> Any:
        raise RuntimeError(NO_DERIVATIVES)

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        raise RuntimeError(NO_DERIVATIVES)


def run(
    operands: Operands,
    static: StaticProblem,
    sizes: Sizes,
    *,
    return_precision: bool,
    xp: Any,
    implementation: str = "streaming",
) -> tuple[Any, Any]:
    """Return the mean and the precision; see `afa_core.streaming.engine.Engine`."""
    statics = pack_statics(
        static, sizes, return_precision=return_precision, implementation=implementation
    )
    mask = static.visibility.mask
    tensors: list[Any] = list(operands)
    compiling = torch.compiler.is_compiling()
    if compiling and any(map(has_tangent, tensors)):
        raise RuntimeError(NO_DERIVATIVES)
    if compiling and not any(x.requires_grad for x in tensors):
        mean, precision, *_ = torch.ops.afa.stream(tensors, mask, *statics)
        return mean, precision
    if compiling:
        mean, precision, *_ = _Stream.apply(mask, statics, *tensors)  # type: ignore[no-untyped-call]
    else:
        mean, precision, *_ = _EagerStream.apply(mask, statics, *tensors)  # type: ignore[no-untyped-call]
    return mean, precision
