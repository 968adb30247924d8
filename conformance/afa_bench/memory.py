"""Peak memory of a call: what the process held at its height, less what it held before."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from afa_bench.proc import MEMORY, PROCESS, size

CLEAR = Path("/proc/self/clear_refs")


class Peak(NamedTuple):
    """Peak extra memory of a call in bytes, its result included, and how it was found."""

    extra: int
    method: str


def peak(call: Callable[[], object]) -> Peak:
    """Return the peak resident memory of a call beyond what was resident before it.

    Where Linux lets the high-water mark be reset the call is made twice and the second is
    measured against what was resident before the first: what only happens once, such as
    compiling, does not count, and buffers that are kept do. Elsewhere the one call is measured
    by the high-water mark of the whole process, which must be fresh.
    """
    _settle()
    before = size(PROCESS, "VmRSS")
    if before is None or not _clear():
        return Peak(_peak_of_process(call), "ru_maxrss")
    call()
    _settle()
    _clear()
    call()
    highest = size(PROCESS, "VmHWM")
    assert highest is not None
    return Peak(max(0, highest - before), "VmHWM")


def bound(share: float = 0.9) -> None:
    """Let allocations fail, where the system can, before they drive the machine out of memory."""
    free = size(MEMORY, "MemAvailable")
    own = size(PROCESS, "VmData")
    if free is None or own is None:
        return
    import resource

    limit = own + int(share * free)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard == resource.RLIM_INFINITY or limit < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def _settle() -> None:
    """Give freed memory back to the system, so that it counts when it is used again."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _clear() -> bool:
    """Reset the high-water mark; return whether that is allowed."""
    try:
        CLEAR.write_text("5")
    except OSError:
        return False
    return True


def _peak_of_process(call: Callable[[], object]) -> int:
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    resident = size(PROCESS, "VmRSS")
    before = resident or unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    call()
    return max(0, unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
