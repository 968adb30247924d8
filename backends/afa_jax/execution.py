"""How JAX executes attention: its engines and its storage of cached tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from afa_jax.engine import ENGINE
from afa_jax.pallas.engine import PALLAS
from afa_jax.storage import STORAGE

EXECUTION: Mapping[str, Any] = {"streaming": ENGINE, "pallas": PALLAS, "storage": STORAGE}
