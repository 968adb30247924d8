"""The ranks of a process group as a ring: how they send and receive tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

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

    def maximum(self, x: Tensor) -> Tensor:
        """Return the elementwise maximum over all ranks, without gradient."""
        largest = x.detach().clone()
        dist.all_reduce(largest, dist.ReduceOp.MAX, group=self.group)
        return largest
