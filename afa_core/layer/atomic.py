"""Files that are written completely or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Write a temporary file beside `path` with `write`, then rename it to `path` atomically.

    After any failure, including a crash of the machine, `path` is either the old file or the
    complete new one.

    Raises
    ------
    OSError
        If the file cannot be written; the temporary file is then removed.
    """
    handle, name = tempfile.mkstemp(suffix=path.suffix, prefix=".partial-", dir=path.parent)
    os.close(handle)
    partial = Path(name)
    try:
        write(partial)
        partial.chmod(0o644)
        with partial.open("r+b") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Flush the new name of a file to disk, on systems where a folder can be opened."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
