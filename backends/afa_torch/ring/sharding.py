"""Sequences divided among the ranks of a group, and gradients summed over them (spec §9)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh

from afa_core.distributed.chunks import (
    chunk_order,
    device_chunks,
    inverse_permutation,
    pad_tokens,
    take_chunks,
)
from afa_torch.operator import XP
from afa_torch.ring.collectives import group_of


def shard(
    x: Tensor,
    dim: int,
    *,
    group: dist.ProcessGroup | None = None,
    mesh: DeviceMesh | None = None,
    causal: bool = True,
) -> Tensor:
    """Return the shard of this rank along an axis of tokens.

    If the tokens do not divide evenly, the sequence is padded at the end with copies of the last
    token, and masks with False. Causal queries before the padding do not attend to it. If not
    causal, pass a `key_mask` that this function cut, which hides it. Leave the results of the
    padding out, as `unshard` does.

    Parameters
    ----------
    x : tensor
        Tokens, times or a mask of the whole sequence.
    dim : int
        The axis of tokens.
    group, mesh : ProcessGroup, or DeviceMesh of one axis, or None
        The ranks in their order; by default all.
    causal : bool
        Whether to take the chunks i and 2P − 1 − i of 2P, or chunk i of P, for rank i of P.

    Returns
    -------
    tensor
        Differentiable.

    References
    ----------
    Spec §9.
    """
    group = group_of(group, mesh)
    rank, ranks = dist.get_rank(group), dist.get_world_size(group)
    chunks = device_chunks(rank, ranks, causal=causal)
    count = len(chunks) * ranks
    whole: Any = x
    own: Any = take_chunks(pad_tokens(whole, count, dim, xp=XP), chunks, count, dim, xp=XP)
    found: Tensor = own
    return found


def unshard(
    x: Tensor,
    dim: int,
    tokens: int,
    *,
    group: dist.ProcessGroup | None = None,
    mesh: DeviceMesh | None = None,
    causal: bool = True,
) -> Tensor:
    """Gather the shards of all ranks into the whole sequence, on every rank; undoes `shard`.

    Parameters
    ----------
    x : tensor
        The shard of this rank.
    dim : int
        The axis of tokens.
    tokens : int
        The number of tokens of the whole sequence, without padding.
    group, mesh : ProcessGroup, or DeviceMesh of one axis, or None
        The ranks in their order; by default all.
    causal : bool
        As for `shard`.

    Returns
    -------
    tensor
        Without gradient: compute losses from shards, and sum them.

    References
    ----------
    Spec §9.
    """
    group = group_of(group, mesh)
    ranks = dist.get_world_size(group)
    own = x.detach().contiguous()
    shards = [torch.empty_like(own) for _ in range(ranks)]
    dist.all_gather(shards, own, group=group)
    order = chunk_order(ranks, causal=causal)
    gathered: Any = torch.cat(shards, dim)
    whole: Any = take_chunks(gathered, inverse_permutation(order), len(order), dim, xp=XP)
    found: Tensor = whole.narrow(dim, 0, tokens)
    return found


def sum_gradients(
    parameters: Iterable[Tensor],
    *,
    group: dist.ProcessGroup | None = None,
    mesh: DeviceMesh | None = None,
) -> None:
    """Sum the gradients of parameters over the ranks of a ring, in place.

    Parameters
    ----------
    parameters : iterable of tensor
        The same on every rank, in the same order. Those without a gradient count as zero; those
        that are not trained, or have none on any rank, are left without.
    group, mesh : ProcessGroup, or DeviceMesh of one axis, or None
        The ranks in their order; by default all.
    """
    group = group_of(group, mesh)
    trained = [x for x in parameters if x.requires_grad]
    if not trained:
        return
    present = [int(x.grad is not None) for x in trained]
    counts = torch.tensor(present, device=trained[0].device)
    dist.all_reduce(counts, group=group)
    for parameter, count in zip(trained, counts.tolist(), strict=True):
        if not count:
            continue
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        dist.all_reduce(parameter.grad, group=group)
