"""What a command does to the streams of its console: characters, broken pipes, text of one line."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress


def replace_unknown_characters() -> None:
    """Make stdout and stderr replace characters that their encoding does not have, such as μ."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def discard_output() -> None:
    """Send what is still in the buffers of stdout and stderr nowhere, since no one reads it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, AttributeError):  # a stream of its own, or none
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def one_line(text: str) -> str:
    """Return a text with its line ends and control characters written as escapes."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
