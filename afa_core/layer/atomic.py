"""Files that are written completely or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path


def write_whole(path: Path, write: Callable[[Path], None], *, devices: bool = False) -> None:
    """Write a temporary file with `write`, then rename it to `path` atomically.

    After any failure, including a crash of the machine, `path` is either the old file or the
    complete new one. A symbolic link stays, and the file that it points to is replaced. A new file
    has the permissions that the umask leaves, a replaced one those of the old file.

    Parameters
    ----------
    path : Path
    write : callable
        ``write(path)`` writes the file; what it is given ends as `path` does.
    devices : bool
        Whether `path` may be a device or a FIFO, which `write` then opens itself. It cannot seek
        there, and what it has written before a failure stays written.

    Raises
    ------
    OSError
        If the file cannot be written, or is not a regular file; the temporary file is then removed.
    """
    mode = _mode(path)
    if mode is not None and not stat.S_ISREG(mode):
        if devices and not stat.S_ISDIR(mode):
            write(path)
            return
        _refuse(path, mode)
    target = path.resolve()
    partial = target.with_name(f".partial-{secrets.token_hex(8)}{path.suffix}")
    # Not by `tempfile`, whose files ignore the umask; private while it replaces a private file.
    created = 0o666 if mode is None else 0o600
    os.close(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, created))
    try:
        permissions = stat.S_IMODE(partial.stat().st_mode if mode is None else mode)
        write(partial)  # which may put a file with another mode there, as safetensors does
        with partial.open("r+b") as file:
            os.fsync(file.fileno())
        partial.chmod(permissions)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    _sync_folder(target.parent)


def _mode(path: Path) -> int | None:
    """Return the mode of the file that a path or its links point to, None if there is none."""
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None


def _refuse(path: Path, mode: int) -> None:
    """Raise the error of a path that is not a regular file."""
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    msg = "Is a device, FIFO or socket, where the file cannot be written; choose a regular file"
    raise OSError(errno.ESPIPE, msg, str(path))


def _sync_folder(folder: Path) -> None:
    """Flush the new name of a file to disk, on systems where a folder can be opened."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
