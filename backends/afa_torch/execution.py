"""How PyTorch executes attention: its engines and its storage of cached tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from afa_torch.storage import STORAGE
from afa_torch.streaming import ENGINE, FUSED, TRITON

EXECUTION: Mapping[str, Any] = {
    "streaming": ENGINE,
    "fused": FUSED,
    "triton": TRITON,
    "storage": STORAGE,
}
