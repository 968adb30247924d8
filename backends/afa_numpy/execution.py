"""How NumPy executes attention: its engines and its storage of cached tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from afa_numpy.fused.engine import FUSED
from afa_numpy.storage import STORAGE
from afa_numpy.streaming import ENGINE

EXECUTION: Mapping[str, Any] = {"streaming": ENGINE, "fused": FUSED, "storage": STORAGE}
