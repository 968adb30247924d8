"""Attention over tiles in PyTorch: written over in place, one operator to autograd and compilers.

The operators ``afa::stream`` and ``afa::stream_backward`` are opaque to `torch.compile`, so tiles
are not unrolled into its graphs; `torch.func` differentiates and maps them. They have no second
derivative and say so; the reference has.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from array_api_compat import torch as namespace
from torch import Tensor

from afa_core._array.masks import Visibility
from afa_core.model import sde, weighting
from afa_core.streaming.backward.run import backward
from afa_core.streaming.blocks import Sizes
from afa_core.streaming.engine import Engine
from afa_core.streaming.forward.run import forward
from afa_core.streaming.forward.sums import Result
from afa_core.streaming.operands import Fixed, Operands
from afa_core.streaming.operations import Operations, in_place
from afa_torch.rotation import turn

OPERANDS, RESULTS = len(Operands._fields), len(Result._fields)
XP: Any = namespace

Rest = tuple[str, list[int], list[int]]
"""Names of form and weighting, numbers and flags, leading axes: what goes beside arrays."""


LARGEST = 2**26
"""Bytes of rooms that are kept from one evaluation to the next."""


class _Kept(threading.local):
    """Rooms of a thread on the host, where new memory is mapped page by page.

    Those of inference mode are others: no one else can write to them.
    """

    def __init__(self) -> None:
        self.rooms: dict[bool, dict[Any, Tensor]] = {False: {}, True: {}}


_KEPT = _Kept()


@contextmanager
def _operations(device: torch.device) -> Iterator[Operations]:
    # elsewhere than on the host, reading would wait for the device
    read: Any = Tensor.tolist
    host = device.type == "cpu"
    rooms: dict[Any, Any] = _KEPT.rooms[torch.is_inference_mode_enabled()] if host else {}
    yield in_place(
        torch,
        _windows,
        affine=lambda x, a, b, room=None: torch.addcmul(x, a, b, out=room),
        add_product=lambda x, a, b: torch.addcmul(x, a, b, out=x),
        add_matmul=lambda x, a, b: torch.baddbmm(x, a, b, out=x),
        seen=lambda x, visible: torch.where(visible, x, x.new_zeros(()), out=x),
        norm2=lambda x: torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_(),
        read=read if host else None,
        rooms=rooms,
    )
    if sum(x.nbytes for x in rooms.values()) > LARGEST:
        rooms.clear()


def _windows(x: Any, length: int) -> Any:
    return x.unfold(-1, length, 1)


def _pack(o: Operands, fixed: Fixed, sizes: Sizes, *, precise: bool) -> Rest:
    flags = (fixed.power, fixed.tempered, fixed.regular, fixed.visibility.causal, precise)
    numbers = [fixed.modes, *(int(each) for each in flags), *sizes]
    kind = f"{fixed.form.__name__} {fixed.weighting.__name__}"
    return kind, numbers, list(fixed.leading)


def _unpack(
    operands: list[Any], mask: Any, kind: str, numbers: list[int], leading: list[int]
) -> tuple[Operands, Fixed, Sizes, bool]:
    modes, power, tempered, regular, causal, precise, *sizes = numbers
    o, (form, weights) = Operands(*operands), kind.split()
    fixed = Fixed(
        tuple(leading),
        modes,
        getattr(sde, form),
        getattr(weighting, weights),
        power,
        bool(tempered),
        bool(regular),
        Visibility(o.query.shape[1], o.key.shape[1], bool(causal), mask),
    )
    return o, fixed, Sizes(*sizes), bool(precise)


def _forward(operands: list[Any], mask: Any, *rest: Any) -> tuple[Any, ...]:
    o, fixed, sizes, precise = _unpack(operands, mask, *rest)
    with _operations(operands[0].device) as ops:
        return tuple(forward(o, fixed, sizes, ops, precise=precise, xp=XP))


def _forward_shapes(operands: list[Any], mask: Any, *rest: Any) -> tuple[Any, ...]:
    query, value = operands[0], operands[2]
    row = query.shape[:2]
    _, fixed, *_ = _unpack(operands, mask, *rest)
    widths = (value.shape[-1] * fixed.estimates, *(fixed.sets,) * 3)
    return tuple(query.new_empty((*row, width)) for width in widths)


def _backward(
    operands: list[Any], mask: Any, result: list[Any], by_mean: Any, by_precision: Any, *rest: Any
) -> list[Any]:
    o, fixed, sizes, _ = _unpack(operands, mask, *rest)
    by = (by_mean, by_precision)
    with _operations(operands[0].device) as ops:
        return list(backward(o, fixed, sizes, ops, Result(*result), *by, xp=XP))


def _backward_shapes(operands: list[Any], *_: Any) -> list[Any]:
    return [torch.empty_like(x) for x in operands]


def _fold(info: Any, axes: Any, tensors: list[Any]) -> list[Any]:
    """Make the axis that is mapped over the first of the heads."""
    whole = (
        x.expand(info.batch_size, *x.shape) if axis is None else x.movedim(axis, 0)
        for x, axis in zip(tensors, axes, strict=True)
    )
    return [x.reshape(-1, *x.shape[2:]) for x in whole]


def _fold_mask(axis: int | None, mask: Any, leading: list[int]) -> Any:
    if mask is None or axis is None:
        return mask
    whole = mask.movedim(axis, 0)
    between = (1,) * (len(leading) + 3 - whole.ndim)
    return whole.reshape(whole.shape[0], *between, *whole.shape[1:])


def _map_forward(info: Any, axes: Any, operands: Any, mask: Any, *rest: Any) -> Any:
    kind, numbers, leading = rest
    found = torch.ops.afa.stream(
        _fold(info, axes[0], operands),
        _fold_mask(axes[1], mask, leading),
        kind,
        numbers,
        [info.batch_size, *leading],
    )
    return tuple(x.unflatten(0, (info.batch_size, -1)) for x in found), (0,) * RESULTS


def _map_backward(
    info: Any, axes: Any, operands: Any, mask: Any, result: Any, by_mean: Any, by_precision: Any,
    *rest: Any,
) -> Any:  # fmt: skip
    kind, numbers, leading = rest
    found = torch.ops.afa.stream_backward(
        _fold(info, axes[0], operands),
        _fold_mask(axes[1], mask, leading),
        _fold(info, axes[2], result),
        *_fold(info, axes[3:5], [by_mean, by_precision]),
        kind,
        numbers,
        [info.batch_size, *leading],
    )
    return [x.unflatten(0, (info.batch_size, -1)) for x in found], [0] * OPERANDS


def _register(name: str, schema: str, function: Any, shapes: Any, mapped: Any) -> None:
    torch.library.define(name, schema)
    torch.library.impl(name, "CompositeExplicitAutograd", function)
    torch.library.register_fake(name, shapes)
    torch.library.register_vmap(name, mapped)


_register(
    "afa::stream",
    "(Tensor[] operands, Tensor? mask, str kind, int[] numbers, int[] leading)"
    " -> (Tensor, Tensor, Tensor, Tensor)",
    _forward,
    _forward_shapes,
    _map_forward,
)
_register(
    "afa::stream_backward",
    "(Tensor[] operands, Tensor? mask, Tensor[] result, Tensor by_mean, Tensor by_precision,"
    " str kind, int[] numbers, int[] leading) -> Tensor[]",
    _backward,
    _backward_shapes,
    _map_backward,
)


class _Stream(torch.autograd.Function):
    """The operator with its derivative, for autograd, `torch.func` and `torch.compile`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(mask: Any, rest: Rest, *operands: Any) -> Any:
        return torch.ops.afa.stream(list(operands), mask, *rest)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        mask, ctx.rest, *operands = inputs
        ctx.save_for_backward(mask, *operands, *output)
        ctx.mark_non_differentiable(*output[2:])

    @staticmethod
    def backward(ctx: Any, *by: Any) -> Any:
        mask, *saved = ctx.saved_tensors
        given = (mask, ctx.rest, *by[:2], *saved)  # those of the mean and of the precision
        # a compiler refuses second derivatives itself, and follows no function in a function
        back = _Back.forward if torch.compiler.is_compiling() else _Back.apply
        return None, None, *back(*given)


class _Back(torch.autograd.Function):
    """The way back, which has no derivative of its own."""

    generate_vmap_rule = True

    @staticmethod
    def forward(mask: Any, rest: Rest, by_mean: Any, by_precision: Any, *saved: Any) -> Any:
        operands, result = list(saved[:OPERANDS]), list(saved[OPERANDS:])
        back = torch.ops.afa.stream_backward
        return tuple(back(operands, mask, result, by_mean, by_precision, *rest))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        msg = (
            "attention over tiles has no second derivative. "
            "Pass implementation='reference', which has."
        )
        raise RuntimeError(msg)


def _run(o: Operands, fixed: Fixed, sizes: Sizes, *, precise: bool, xp: Any) -> tuple[Any, Any]:
    rest = _pack(o, fixed, sizes, precise=precise)
    mask = fixed.visibility.mask
    operands: list[Any] = list(o)
    if torch.compiler.is_compiling() and not any(x.requires_grad for x in operands):
        mean, precision, *_ = torch.ops.afa.stream(operands, mask, *rest)
    else:
        mean, precision, *_ = _Stream.apply(mask, rest, *operands)  # type: ignore[no-untyped-call]
    return mean, precision


ENGINE = Engine(_run, Sizes(256, 1024), 256, turn)
