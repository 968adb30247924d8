"""The bytes of a file or of standard input, decompressed, and their text."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import sys
import zipfile
import zlib
from pathlib import Path

from afa_core.command.errors import CommandError

STANDARD_INPUT = "-"

BYTE_ORDER_MARKS = (  # UTF-32 first, whose mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

DAMAGED = (
    *(EOFError, OSError, ValueError, RuntimeError),
    *(lzma.LZMAError, zipfile.BadZipFile, zlib.error),
)


def name_of(path: str) -> str:
    """Return what messages call a source."""
    return "standard input" if path == STANDARD_INPUT else path


def read_bytes(path: str) -> bytes:
    """Return the content of a file, or of standard input for ``"-"``; decompressed.

    Raises
    ------
    CommandError
        If it cannot be read, or its compression is damaged.
    """
    try:
        standard = path == STANDARD_INPUT
        content = sys.stdin.buffer.read() if standard else Path(path).read_bytes()
    except OSError as error:
        msg = f"{name_of(path)}: cannot be read: {error.strerror}."
        raise CommandError(msg) from error
    try:
        return _decompress(content, name_of(path))
    except DAMAGED as error:
        msg = f"{name_of(path)}: is a damaged compressed file: {error}."
        raise CommandError(msg) from error


def _decompress(content: bytes, source: str) -> bytes:
    """Return the content of a gzip, bzip2, xz or zip file, known by its first bytes."""
    if content.startswith(b"\x1f\x8b"):
        return gzip.decompress(content)
    if content.startswith(b"BZh") and content[4:10] == b"1AY&SY":
        return bz2.decompress(content)
    if content.startswith(b"\xfd7zXZ\0"):
        return lzma.decompress(content)
    if not content.startswith(b"PK\x03\x04"):
        return content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = [each.filename for each in archive.infolist() if not each.is_dir()]
        if "[Content_Types].xml" in names:
            msg = f"{source}: is a workbook of a spreadsheet program; save its sheet as CSV."
            raise CommandError(msg)
        if len(names) != 1:
            msg = f"{source}: expected a zip file of one file, got {len(names)}; unpack it."
            raise CommandError(msg)
        return archive.read(names[0])


def decode(content: bytes, encoding: str | None, source: str) -> tuple[str, list[str]]:
    """Return the text of a file, and what was assumed of it.

    Without `encoding` it is that of a byte order mark, otherwise UTF-8, otherwise cp1252, which is
    said.

    Raises
    ------
    CommandError
        If the bytes are no text in that encoding.
    """
    marked = [name for mark, name in BYTE_ORDER_MARKS if content.startswith(mark)]
    notes = []
    try:
        text = content.decode(encoding or next(iter(marked), "utf-8"))
    except UnicodeError as error:
        if encoding or marked:
            msg = f"{source}: is not text in {encoding or marked[0]}: {error}. Pass --encoding."
            raise CommandError(msg) from error
        try:
            text = content.decode("cp1252")
        except UnicodeError as other:
            msg = f"{source}: is text neither in UTF-8 nor in cp1252: {error}. Pass --encoding."
            raise CommandError(msg) from other
        notes = ["the text is not in UTF-8 and is read as cp1252; --encoding selects another"]
    if "\0" in text:
        msg = f"{source}: is no text: it holds NUL bytes. For UTF-16 pass --encoding utf-16-le."
        raise CommandError(msg)
    return text.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}"), notes  # the mark
