"""The outputs of a command: refused before any work if they cannot be, and written whole."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import stat
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from afa_core.command.errors import CommandError
from afa_core.command.parquet import require_pyarrow
from afa_core.command.source import STANDARD_INPUT
from afa_core.layer.atomic import write_whole

STANDARD_OUTPUT = "-"

PARQUET = ".parquet"

COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": partial(gzip.compress, mtime=0),  # the same table is the same file
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}
OTHER_FORMATS = (".zip", ".zst", ".xls", ".xlsx", ".ods", ".feather", ".h5")


def check_outputs(table: str, picture: Path | None, source: str | None, *, force: bool) -> None:
    """Check that outputs can be written, before any work.

    Parameters
    ----------
    table : str
        A path, or ``"-"`` for standard output.
    picture : Path or None
    source : str or None
        The input, a path or ``"-"``; None for one that is no file of the user's.
    force : bool
        Whether files that exist are overwritten.

    Raises
    ------
    CommandError
        If an output is the input or the other output, exists already, is in no folder, or has a
        name of a format that cannot be written.
    """
    outputs = [] if table == STANDARD_OUTPUT else [Path(table)]
    for path in outputs:
        _check_format(path)
    if picture is not None:
        check_picture(picture)
        outputs.append(picture)
    if len(outputs) == 2 and _identity(outputs[0]) == _identity(outputs[1]):
        msg = f"{picture}: is the output of both the table and the picture; choose another one."
        raise CommandError(msg)
    for path in outputs:
        if source is not None and _identity(path) == _identity_of_input(source):
            msg = f"{path}: is the input; choose another output."
            raise CommandError(msg)
        _check_place(path, force=force)


def _check_format(path: Path) -> None:
    if path.suffix.lower() == PARQUET:
        require_pyarrow(str(path))
    if path.suffix.lower() in OTHER_FORMATS:
        known = ", ".join([PARQUET, *(f".csv{suffix}" for suffix in ("", *COMPRESSIONS))])
        msg = f"{path}: cannot be written in this format; choose one of {known}."
        raise CommandError(msg)


def check_picture(path: Path) -> None:
    """Raise CommandError if Matplotlib has no format for the suffix of a picture."""
    from matplotlib.figure import Figure

    formats = Figure().canvas.get_supported_filetypes().keys() - {"pgf"}  # which runs LaTeX
    if path.suffix[1:].lower() not in formats:
        listed = ", ".join(f".{each}" for each in sorted(formats))
        msg = f'{path}: a picture must end in one of {listed}, got "{path.suffix}".'
        raise CommandError(msg)


def _check_place(path: Path, *, force: bool) -> None:
    """Check that a file may be written at a path; devices and FIFOs hold nothing to lose."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        folder = path.resolve().parent
        if not folder.is_dir():
            msg = f"{path}: cannot be written: there is no folder {folder}. Create it."
            raise CommandError(msg) from None
        return
    except OSError as error:
        raise _not_written(path, error) from error
    if stat.S_ISDIR(mode):
        msg = f"{path}: is a folder; choose a file in it."
        raise CommandError(msg)
    if stat.S_ISREG(mode) and not force:
        msg = f"{path}: exists already; choose another output or pass --force."
        raise CommandError(msg)


def _identity(path: Path) -> object:
    """Return what two paths of one file have in common, links or not."""
    try:
        found = path.stat()
    except OSError:
        return os.path.realpath(path)
    return found.st_dev, found.st_ino


def _identity_of_input(source: str) -> object:
    if source != STANDARD_INPUT:
        return _identity(Path(source))
    with suppress(OSError, AttributeError):
        found = os.fstat(sys.stdin.fileno())
        return found.st_dev, found.st_ino
    return None


def write_table(path: str, columns: Mapping[str, Any], separator: str, decimal: str) -> None:
    """Write a table: as Parquet if its name says so, otherwise as CSV, compressed if it says so.

    Parameters
    ----------
    path : str
        ``"-"`` for standard output.
    columns : mapping of str to sequence
        By name; NaN is an empty cell.
    separator, decimal : str
        Of CSV.

    Raises
    ------
    CommandError
        If the file cannot be written.
    """
    import pandas as pd

    frame = pd.DataFrame(dict(columns))
    if Path(path).suffix.lower() == PARQUET:
        write_bytes(Path(path), frame.to_parquet(engine="pyarrow", index=False))
        return
    flags = {name: "int8" for name, column in frame.items() if column.dtype == bool}
    text = frame.astype(flags).to_csv(
        index=False, sep=separator, decimal=decimal, lineterminator="\n"
    )
    content = text.encode()
    if path == STANDARD_OUTPUT:
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        sys.stdout.flush()
    else:
        write_bytes(Path(path), COMPRESSIONS.get(Path(path).suffix.lower(), bytes)(content))


def write_picture(path: Path, figure: Any) -> None:
    """Write a figure of Matplotlib in the format of the path's suffix."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix[1:].lower(), dpi=150)
    write_bytes(path, buffer.getvalue())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file completely or not at all; to a device or FIFO, directly.

    Raises
    ------
    CommandError
        If the file cannot be written.
    """
    try:
        write_whole(path, partial(_fill, content=content), devices=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _not_written(path, error) from error


def _fill(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _not_written(path: Path, error: OSError) -> CommandError:
    return CommandError(f"{path}: cannot be written: {error.strerror}.")
