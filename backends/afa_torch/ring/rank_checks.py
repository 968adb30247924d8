"""Whether the ranks of a group call a function with arguments that fit each other."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from afa_core._array.arrays import dtype_name


def check_same_on_all_ranks(
    arguments: Mapping[str, Any], *, return_precision: bool, group: dist.ProcessGroup
) -> None:
    """Raise ValueError on every rank unless shapes, dtypes and settings are the same on all.

    The ranks compare a hash of eight bytes, and exchange descriptions only if hashes differ.
    """
    own = {f"`{name}`": text for name, text in _describe(arguments)}
    own["whether precision is asked for"] = str(return_precision)
    own["whether gradients are taken"] = str(_requires_grad(arguments))
    times = tuple(arguments.get(name) for name in ("query_times", "key_times"))
    own["whether gradients of times are taken"] = str(_requires_grad(times))
    device = next((x.device for x in arguments.values() if isinstance(x, Tensor)), "cpu")
    digest = hashlib.blake2b(repr(own).encode(), digest_size=7).digest()
    own_hash = torch.tensor([int.from_bytes(digest, "big")], device=device)
    hashes = [torch.empty_like(own_hash) for _ in range(dist.get_world_size(group))]
    dist.all_gather(hashes, own_hash, group=group)
    if len(set(torch.cat(hashes).tolist())) == 1:
        return
    descriptions: list[Any] = [None] * len(hashes)
    dist.all_gather_object(descriptions, own, group=group)
    _raise_first_difference(descriptions)


def _raise_first_difference(descriptions: list[dict[str, str]]) -> None:
    for name in dict.fromkeys(name for each in descriptions for name in each):
        texts = [each.get(name, "nothing") for each in descriptions]
        rank = next((rank for rank, text in enumerate(texts) if text != texts[0]), None)
        if rank is not None:
            msg = (
                f"{name} must be the same on all ranks of the group, got {texts[0]} on rank 0 and "
                f"{texts[rank]} on rank {rank}. Cut sequences with `shard`, and set the rest alike."
            )
            raise ValueError(msg)


def _describe(arguments: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return the names and the descriptions of arguments, and of the fields of NamedTuples."""
    found = []
    for name, x in arguments.items():
        if isinstance(x, Tensor):
            found.append((prefix + name, f"{dtype_name(x.dtype)} {tuple(x.shape)}"))
        elif hasattr(x, "_asdict"):
            found.append((prefix + name, type(x).__name__))
            found += _describe(x._asdict(), f"{prefix}{name}.")
        else:
            found.append((prefix + name, repr(x)))
    return found


def _requires_grad(x: Any) -> bool:
    """Whether a gradient is taken in any tensor of nested arguments."""
    if isinstance(x, Mapping):
        return any(map(_requires_grad, x.values()))
    if isinstance(x, tuple):
        return any(map(_requires_grad, x))
    return torch.is_grad_enabled() and isinstance(x, Tensor) and x.requires_grad
