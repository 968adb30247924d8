"""Whether the ranks of a group were given arguments that fit together."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from afa_core._array.arrays import dtype_name


def agree(arguments: Mapping[str, Any], precise: bool, group: dist.ProcessGroup) -> None:
    """Raise ValueError on every rank unless shapes, dtypes and settings are the same on all.

    Eight bytes a rank are compared; descriptions are exchanged only where these differ.
    """
    own = {f"`{name}`": each for name, each in _described(arguments)}
    own["whether precision is asked for"] = str(precise)
    own["whether gradients are taken"] = str(_differentiated(arguments))
    device = next((x.device for x in arguments.values() if isinstance(x, Tensor)), "cpu")
    digest = hashlib.blake2b(repr(own).encode(), digest_size=7).digest()
    mark = torch.tensor([int.from_bytes(digest, "big")], device=device)
    marks = [torch.empty_like(mark) for _ in range(dist.get_world_size(group))]
    dist.all_gather(marks, mark, group=group)
    if len(set(torch.cat(marks).tolist())) == 1:
        return
    found: list[Any] = [None] * len(marks)
    dist.all_gather_object(found, own, group=group)
    for name in dict.fromkeys(name for each in found for name in each):
        told = [each.get(name, "nothing") for each in found]
        rank = next((rank for rank, each in enumerate(told) if each != told[0]), None)
        if rank is not None:
            msg = (
                f"{name} must be the same on all ranks of the group, got {told[0]} on rank 0 and "
                f"{told[rank]} on rank {rank}. Cut sequences with `shard`, and set the rest alike."
            )
            raise ValueError(msg)


def _described(arguments: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    found = []
    for name, x in arguments.items():
        if isinstance(x, Tensor):
            found.append((prefix + name, f"{dtype_name(x.dtype)} {tuple(x.shape)}"))
        elif hasattr(x, "_asdict"):
            found.append((prefix + name, type(x).__name__))
            found += _described(x._asdict(), f"{prefix}{name}.")
        else:
            found.append((prefix + name, repr(x)))
    return found


def _differentiated(x: Any) -> bool:
    """Whether anything in a tree of arguments is to have a gradient."""
    if isinstance(x, Mapping):
        return any(map(_differentiated, x.values()))
    if isinstance(x, tuple):
        return any(map(_differentiated, x))
    return torch.is_grad_enabled() and isinstance(x, Tensor) and x.requires_grad
