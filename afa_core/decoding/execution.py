"""The storage that a library registers for decoding."""

from __future__ import annotations

from afa_core._array.arrays import Namespace
from afa_core._dispatch import registered
from afa_core.decoding.storage import DEFAULT_STORAGE, Storage


def storage_of(xp: Namespace) -> Storage:
    """Return the storage that the library of a namespace registers, or the default."""
    return registered("storage", xp, DEFAULT_STORAGE)
