"""How PyTorch executes attention: its streaming engine and its storage of cached tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from afa_torch.storage import STORAGE
from afa_torch.streaming import ENGINE

EXECUTION: Mapping[str, Any] = {"streaming": ENGINE, "storage": STORAGE}
