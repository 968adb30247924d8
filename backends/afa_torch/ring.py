"""Rings of PyTorch ranks: sequences longer than one of them holds, forward and back (spec §9).

A rank gets the derivatives of its own tokens whole, and of parameters its own part: what its
queries make of them. The parts of all ranks sum to the gradient of the sum of their losses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import reduce
from typing import Any, NamedTuple, Unpack

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributed.device_mesh import DeviceMesh

from afa_core._checks.arguments import check_options, checked_tile, gather
from afa_core.distributed.ring import Block, Cargo, blocks_of, derivatives, included, problem_of
from afa_core.distributed.shards import (
    Ring,
    RingOptions,
    chunks_of,
    estimated,
    order_of_chunks,
    padded,
    picked,
    restoring,
)
from afa_core.model.estimates import Estimate
from afa_core.model.sde import SDE
from afa_core.streaming.blocks import Sizes
from afa_core.streaming.forward.sums import Result
from afa_core.streaming.operands import Fixed, Operands
from afa_torch.rank_checks import agree
from afa_torch.streaming import ENGINE, OPERANDS, XP, _pack

Group = dist.ProcessGroup
CARGO = len(Cargo._fields)


def ring_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    sde: SDE,
    *,
    group: Group | None = None,
    mesh: DeviceMesh | None = None,
    **options: Unpack[RingOptions],
) -> Tensor:
    """Return the attention of this rank's queries over the keys of all ranks of a group.

    All ranks call it together, and differentiate together. Keys and values go round from rank to
    rank, forward and, for gradients, back again; a rank holds no more of them than its own share
    and what is passing.

    Parameters
    ----------
    query, key, value : tensor, shapes (..., n, c), (..., m, c), (..., m, c_v)
        The tokens of this rank, cut by `shard`: if `causal` the chunks i and 2P − 1 − i of 2P, for
        rank i of P, so that all have the same work; else chunk i of P.
    sde : IsotropicSDE, DiagonalSDE or RadialTangentialSDE
        The same on every rank; of its parameters a rank gets its part of the gradient, which
        `sum_gradients` puts together. `DistributedDataParallel` takes the mean over ranks
        instead of the sum: multiply the loss by their number P.
    group, mesh : ProcessGroup, or DeviceMesh of one axis, or None
        The ranks in their order; by default all.
    key_mask : boolean tensor, shape (..., m), or None
        Hides keys of this rank where False, whatever they contain.
    **options
        `weighting`, `inverse_temperature`, `query_times`, `key_times`, `causal`, `anchor`,
        `layout` and `tile`, as of `attention`. Times are by default the places in the sequence.

    Returns
    -------
    tensor, shape (..., n, c_v)
        Of the kind, layout and dtype of `value`.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind, dtype or library.
    ValueError
        If shapes or options do not fit each other, or differ from rank to rank.

    References
    ----------
    Spec §9.
    """
    group = _group_of(group, mesh)
    mean: Tensor = _estimated(query, key, value, sde, group, options, precise=False)[0]
    return mean


def ring_estimate(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    sde: SDE,
    *,
    group: Group | None = None,
    mesh: DeviceMesh | None = None,
    **options: Unpack[RingOptions],
) -> Estimate:
    """Return the estimate of `ring_attention` together with its precision.

    Takes the arguments of `ring_attention`, and raises its errors.

    References
    ----------
    Spec §9, §10.
    """
    group = _group_of(group, mesh)
    return Estimate(*_estimated(query, key, value, sde, group, options, precise=True))


def shard(
    x: Tensor,
    dim: int,
    *,
    group: Group | None = None,
    mesh: DeviceMesh | None = None,
    causal: bool = True,
) -> Tensor:
    """Return the share of this rank in an axis of tokens.

    Where the tokens cannot be divided evenly the last is repeated at the end; causal queries
    before do not see the copies. If not causal, pass a `key_mask` cut by this function too: it
    hides them. What comes of the copies is to be left out, as `unshard` does.

    Parameters
    ----------
    x : tensor
        Tokens, times or a mask of the whole sequence.
    dim : int
        The axis of tokens.
    group, mesh : ProcessGroup, or DeviceMesh of one axis, or None
        The ranks in their order; by default all.
    causal : bool
        Whether to take the chunks i and 2P − 1 − i of 2P, or chunk i of P.

    Returns
    -------
    tensor
        Differentiable.

    References
    ----------
    Spec §9.
    """
    group = _group_of(group, mesh)
    rank, ranks = dist.get_rank(group), dist.get_world_size(group)
    chunks = chunks_of(rank, ranks, causal=causal)
    count = len(chunks) * ranks
    tokens: Any = x
    found: Any = picked(padded(tokens, count, dim, xp=XP), chunks, count, dim, xp=XP)
    share: Tensor = found
    return share


def unshard(
    x: Tensor,
    dim: int,
    tokens: int,
    *,
    group: Group | None = None,
    mesh: DeviceMesh | None = None,
    causal: bool = True,
) -> Tensor:
    """Return an axis of tokens whole, on every rank, from what `shard` cut it to.

    Parameters
    ----------
    x : tensor
        The share of this rank.
    dim : int
        The axis of tokens.
    tokens : int
        How many there are in the whole sequence.
    group, mesh : ProcessGroup, or DeviceMesh of one axis, or None
    causal : bool
        As for `shard`.

    Returns
    -------
    tensor
        To look at: no gradient goes back. Take losses of the shares, and sum them.

    References
    ----------
    Spec §9.
    """
    group = _group_of(group, mesh)
    ranks = dist.get_world_size(group)
    own = x.detach().contiguous()
    parts = [torch.empty_like(own) for _ in range(ranks)]
    dist.all_gather(parts, own, group=group)
    order = order_of_chunks(ranks, causal=causal)
    joined: Any = torch.cat(parts, dim)
    found: Any = picked(joined, restoring(order), len(order), dim, xp=XP)
    whole: Tensor = found.narrow(dim, 0, tokens)
    return whole


def sum_gradients(
    parameters: Iterable[Tensor], *, group: Group | None = None, mesh: DeviceMesh | None = None
) -> None:
    """Sum the gradients of parameters over the ranks of a ring, in place.

    Parameters
    ----------
    parameters : iterable of tensor
        The same on every rank, in the same order; those without a gradient count as zero.
    group, mesh : ProcessGroup, or DeviceMesh of one axis, or None
    """
    group = _group_of(group, mesh)
    for each in parameters:
        if each.grad is None:
            each.grad = torch.zeros_like(each)
        dist.all_reduce(each.grad, group=group)


def _group_of(group: Group | None, mesh: DeviceMesh | None) -> Group:
    if not dist.is_initialized():
        msg = (
            "ranks must be known to torch.distributed, and none are. "
            "Call torch.distributed.init_process_group first."
        )
        raise ValueError(msg)
    if mesh is None:
        return dist.group.WORLD if group is None else group  # type: ignore[return-value]
    if group is not None:
        msg = "`group` and `mesh` must not both be given, got two. Leave one out."
        raise ValueError(msg)
    if mesh.ndim != 1:
        msg = (
            f"`mesh` must have one axis, got {mesh.ndim}: {mesh.mesh_dim_names}. "
            "Pass the one along which tokens are cut, mesh[name]."
        )
        raise ValueError(msg)
    return mesh.get_group()


class _Line(NamedTuple):
    """The ring as one rank sees it."""

    group: Group
    rank: int
    ranks: int

    def pass_on(self, tensors: list[Tensor]) -> Callable[[], list[Tensor]]:
        """Begin to send tensors to the next rank; return what waits for those of the last."""
        if self.ranks == 1:
            return lambda: tensors
        to, source = (
            dist.get_global_rank(self.group, (self.rank + each) % self.ranks) for each in (1, -1)
        )
        sent = [x.contiguous() for x in tensors]
        rooms = [torch.empty_like(x) for x in sent]
        operations = [dist.P2POp(dist.isend, x, to, self.group) for x in sent]
        operations += [dist.P2POp(dist.irecv, x, source, self.group) for x in rooms]
        works = dist.batch_isend_irecv(operations)

        def arrived() -> list[Tensor]:
            for each in works:
                each.wait()
            sent.clear()  # which had to be kept until now
            return rooms

        return arrived

    def block(self, at: int, blocks: tuple[Block, Block, Block]) -> Block:
        """Return the block of keys that have been passed on `at` times."""
        own, earlier, later = blocks
        return own if at == 0 else earlier if at <= self.rank else later


class _Rest(NamedTuple):
    """What beside tensors makes a ring."""

    line: _Line
    fixed: Fixed
    sizes: Sizes
    precise: bool

    def blocks(self, o: Operands, cargo: Cargo) -> tuple[Block, Block, Block]:
        """Return what a rank evaluates of its own keys, of an earlier rank's, of a later one's."""
        causal = self.fixed.visibility.causal
        return blocks_of(o.query.shape[1], cargo.key.shape[-2], causal=causal)

    def problem(self, block: Block, o: Operands, freight: list[Tensor]) -> tuple[Any, Any, Any]:
        """Return the operands of a block, its mask, and what goes beside arrays."""
        cargo, seen = _unpacked(freight)
        own, fixed = problem_of(block, o, cargo, seen, self.fixed, xp=XP)
        rest = _pack(own, fixed, self.sizes, precise=self.precise)
        return list(own), fixed.visibility.mask, rest


def _unpacked(freight: list[Any]) -> tuple[Cargo, Any]:
    return Cargo(*freight[:CARGO]), freight[CARGO] if len(freight) > CARGO else None


def _result(rest: _Rest, o: Operands, freight: list[Tensor]) -> Result:
    """Take the keys round, and merge what they come to."""
    line, blocks = rest.line, rest.blocks(o, _unpacked(freight)[0])
    result = None
    for at in range(line.ranks):
        coming = line.pass_on(freight) if at + 1 < line.ranks else None
        block = line.block(at, blocks)
        operands, mask, beside = rest.problem(block, o, freight)
        part = Result(*torch.ops.afa.stream(operands, mask, *beside))
        result = part if result is None else included(result, part, block, rest.fixed, xp=XP)
        freight = coming() if coming else freight
    assert result is not None
    return result


def _gradients(
    rest: _Rest, o: Operands, freight: list[Tensor], result: list[Tensor], by: list[Tensor]
) -> list[Any]:
    """Take the keys round with their derivatives, which end where they began."""
    line, (cargo, _) = rest.line, _unpacked(freight)
    blocks = rest.blocks(o, cargo)
    found: list[list[Any]] = []
    returning = None
    for at in range(line.ranks):
        coming = line.pass_on(freight) if at + 1 < line.ranks else None
        block = line.block(at, blocks)
        operands, mask, beside = rest.problem(block, o, freight)
        start = block.queries.start
        rows = [x[:, start:] for x in result], *(x[:, start:] for x in by)
        part = torch.ops.afa.stream_backward(operands, mask, *rows, *beside)
        by_o, by_cargo = derivatives(Operands(*part), block, o, cargo, rest.fixed, xp=XP)
        found = [_sum(*found, list(by_o))]
        own: list[Any] = list(by_cargo)
        returning = line.pass_on(_sum(returning(), own) if returning else own)
        freight = coming() if coming else freight
    assert returning is not None
    return [*found[0], *returning()]


def _sum(*lists: list[Any]) -> list[Any]:
    return [reduce(torch.add, each) for each in zip(*lists, strict=True)]


def _back(ctx: Any, *by: Any) -> Any:
    saved = list(ctx.saved_tensors)
    split = len(saved) - len(Result._fields)
    o, freight = Operands(*saved[:OPERANDS]), saved[OPERANDS:split]
    found = _gradients(ctx.rest, o, freight, saved[split:], list(by))
    return None, *found, *(None for _ in freight[CARGO:])


class _Around(torch.autograd.Function):
    """The ring there and the ring back."""

    @staticmethod
    def forward(ctx: Any, rest: _Rest, *tensors: Any) -> Any:
        ctx.rest = rest
        result = _result(rest, Operands(*tensors[:OPERANDS]), list(tensors[OPERANDS:]))
        ctx.save_for_backward(*tensors, *result)
        return result.mean, result.precision

    backward: Any = staticmethod(once_differentiable(_back))


def _evaluated(
    query: Any, key: Any, value: Any, sde: SDE, group: Group, options: RingOptions, *, precise: bool
) -> tuple[Any, Any]:
    check_options(options, RingOptions)
    given: dict[str, Any] = dict(options)
    agree({"query": query, "key": key, "value": value, "sde": sde, **given}, precise, group)
    key_mask, tile = given.pop("key_mask", None), checked_tile(given.pop("tile", None))
    line = _Line(group, dist.get_rank(group), dist.get_world_size(group))

    def greatest(x: Any) -> Any:
        found = x.detach().clone()
        dist.all_reduce(found, dist.ReduceOp.MAX, group=group)
        return found

    def run(
        cargo: Cargo, seen: Any, o: Operands, fixed: Fixed, sizes: Sizes, *, precise: bool, xp: Any
    ) -> Any:
        rest = _Rest(line, fixed, sizes, precise)
        freight = [*cargo, *(() if seen is None else (seen,))]
        return _Around.apply(rest, *o, *freight)  # type: ignore[no-untyped-call]

    ring = Ring(line.rank, line.ranks, greatest)
    arguments = gather(query, key, value, sde, given)
    return estimated(arguments, key_mask, ring, ENGINE, run, tile, precise=precise)


_estimated: Any = torch.compiler.disable(_evaluated)  # type: ignore[no-untyped-call]
