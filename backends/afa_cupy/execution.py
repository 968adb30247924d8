"""How CuPy executes attention: its engine of single operations, and a kernel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from afa_cupy.fused.engine import FUSED
from afa_cupy.streaming import ENGINE

EXECUTION: Mapping[str, Any] = {"streaming": ENGINE, "fused": FUSED}
