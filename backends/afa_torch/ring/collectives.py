"""The ranks of a process group as a ring: how they send and receive tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh


def group_of(group: dist.ProcessGroup | None, mesh: DeviceMesh | None) -> dist.ProcessGroup:
    """Return the process group of the `group` or `mesh` of a caller, by default that of all ranks.

    Raises
    ------
    ValueError
        If torch.distributed is not initialised, both are given, or the mesh has several axes.
    """
    if not dist.is_initialized():
        msg = (
            "torch.distributed must be initialised before ranks call each other, and is not. "
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


class RankRing(NamedTuple):
    """The ring of the ranks of a process group, and the rank of this process in it."""

    group: dist.ProcessGroup
    rank: int
    ranks: int

    @classmethod
    def of(cls, group: dist.ProcessGroup) -> RankRing:
        """Return the ring of a group."""
        return cls(group, dist.get_rank(group), dist.get_world_size(group))

    def send_receive(self, tensors: list[Tensor]) -> Callable[[], list[Tensor]]:
        """Start to send tensors to the next rank, and to receive those of the previous one.

        Returns a function that waits for both, and returns the tensors received.
        """
        if self.ranks == 1:
            return lambda: tensors
        target, source = (
            dist.get_global_rank(self.group, (self.rank + step) % self.ranks) for step in (1, -1)
        )
        sent = [x.contiguous() for x in tensors]
        received = [torch.empty_like(x) for x in sent]
        operations = [dist.P2POp(dist.isend, x, target, self.group) for x in sent]
        operations += [dist.P2POp(dist.irecv, x, source, self.group) for x in received]
        works = dist.batch_isend_irecv(operations)

        def wait() -> list[Tensor]:
            for work in works:
                work.wait()
            sent.clear()  # held until it was sent
            return received

        return wait

    def gather(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Concatenate the tensors of all ranks along their last axis, on every rank.

        Differentiable: the backward pass sums the gradients of all ranks, and must be run by all.
        """
        found: tuple[Tensor, ...] = GatherTensors.apply(self, *tensors)  # type: ignore[no-untyped-call]
        return found

    def all_gather(self, tensors: list[Tensor]) -> list[Tensor]:
        """Send the tensors of every rank around the ring; return all, by the last axis."""
        held, shards = tensors, {self.rank: tensors}
        for step in range(1, self.ranks):
            held = self.send_receive(held)()
            shards[(self.rank - step) % self.ranks] = held
        ordered = [shards[rank] for rank in range(self.ranks)]
        return [torch.cat(each, dim=-1) for each in zip(*ordered, strict=True)]

    def reduce_scatter(self, tensors: list[Tensor]) -> list[Tensor]:
        """Sum tensors over all ranks; return the shards of this rank along the last axis."""
        shards = list(zip(*(x.chunk(self.ranks, dim=-1) for x in tensors), strict=True))
        total = list(shards[(self.rank - 1) % self.ranks])
        for step in range(1, self.ranks):
            received = self.send_receive(total)()
            own = shards[(self.rank - 1 - step) % self.ranks]
            total = [a + b for a, b in zip(received, own, strict=True)]
        return total

    def maximum(self, x: Tensor) -> Tensor:
        """Return the elementwise maximum over all ranks, without gradient."""
        largest = x.detach().clone()
        dist.all_reduce(largest, dist.ReduceOp.MAX, group=self.group)
        return largest


class GatherTensors(torch.autograd.Function):
    """The tensors of all ranks, concatenated along their last axis."""

    @staticmethod
    def forward(ctx: Any, ring: RankRing, *tensors: Tensor) -> Any:
        """Gather tensors; all ranks call it at the same time."""
        ctx.ring = ring
        return tuple(ring.all_gather(list(tensors)))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        """Return the gradients in the tensors of this rank, summed over all ranks."""
        return None, *ctx.ring.reduce_scatter(list(grads))
