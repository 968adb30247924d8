"""Transfers of PyTorch's values to the host."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

READS = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
"""Tags of operations that wait for values: `item`, `nonzero`, indexing by a mask."""


class NoTransfers(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A context in which every operation that waits for a device's values raises."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run one operation, unless it reads values or returns on the host what was elsewhere."""
        msg = f"{func} transfers values to the host"
        if READS.intersection(func.tags):
            raise RuntimeError(msg)
        result = func(*args, **(kwargs or {}))
        if "cpu" in devices((result,)) and devices(args) - {"cpu"}:
            raise RuntimeError(msg)
        return result


def devices(values: Iterable[Any]) -> set[str]:
    """Return the kinds of devices that the tensors among these are on."""
    return {each.device.type for each in values if isinstance(each, torch.Tensor)}
