"""How the library of some arrays executes: the only door from the mathematics to backends.

A backend registers a mapping under its library's name in the entry-point group
``afa_core.execution``: ``"streaming"`` is its `afa_core.streaming.engine.Engine`, ``"storage"`` its
`afa_core.decoding.storage.Storage`, ``"fused"``, ``"triton"`` and ``"pallas"`` an
`afa_core.streaming.engine.CompiledEngine` each. All are optional, and so is the mapping.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any, TypeVar, cast

from afa_core._array.arrays import Namespace, library_name

GROUP = "afa_core.execution"

REGISTERED: dict[str, Mapping[str, Any]] = {}
"""What each library met so far has registered; empty where that is nothing."""

Capability = TypeVar("Capability")


def registered(kind: str, xp: Namespace, default: Capability) -> Capability:
    """Return what the library of a namespace registers under `kind`, or the default."""
    return cast(Capability, _execution_of(library_name(xp)).get(kind, default))


def _execution_of(library: str) -> Mapping[str, Any]:
    if library == "torch":  # torch.compile follows an import, but not the registry
        from afa_torch.execution import EXECUTION

        return EXECUTION
    if library not in REGISTERED:
        found = {entry.name: entry for entry in entry_points(group=GROUP)}
        REGISTERED[library] = found[library].load() if library in found else {}
    return REGISTERED[library]
