"""Peak memory of a call: the peak resident memory of the process less that before the call."""

from __future__ import annotations

import gc
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import psutil

STATUS, CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Peak(NamedTuple):
    """Peak extra memory of a call in bytes, its result included, and how it was measured."""

    extra: int
    method: str


def peak(call: Callable[[], object]) -> Peak:
    """Return the peak resident memory of a call less the resident memory before it.

    Where Linux allows the peak to be reset, the call is made twice, and the peak of the second
    call is compared with the resident memory before the first. This excludes what happens only
    once, such as compilation, and includes buffers that are kept. Elsewhere the peak of the whole
    process is used, and the process must be fresh.
    """
    _trim()
    before = psutil.Process().memory_info().rss
    if not _reset_peak():
        call()
        return Peak(max(0, _peak_of_process() - before), "ru_maxrss")
    call()
    _trim()
    _reset_peak()
    call()
    return Peak(max(0, _peak_since_reset() - before), "VmHWM")


def limit_memory(share: float = 0.9) -> None:
    """Make allocations beyond a share of the available memory fail, where the system can."""
    if not hasattr(psutil, "RLIMIT_DATA"):
        return
    process = psutil.Process()
    limit = process.memory_info().data + int(share * psutil.virtual_memory().available)
    _, hard = process.rlimit(psutil.RLIMIT_DATA)
    if hard == psutil.RLIM_INFINITY or limit < hard:
        process.rlimit(psutil.RLIMIT_DATA, (limit, hard))


def _trim() -> None:
    """Return freed memory to the system, so that it counts when it is used again."""
    gc.collect()
    if hasattr(psutil, "heap_trim"):
        psutil.heap_trim()


def _reset_peak() -> bool:
    """Reset the peak resident memory; return whether that is allowed."""
    try:
        CLEAR_REFS.write_text("5")
    except OSError:
        return False
    return True


def _peak_since_reset() -> int:
    found = re.search(r"^VmHWM:\s*(\d+) kB$", STATUS.read_text(), re.MULTILINE)
    assert found is not None
    return 1024 * int(found[1])


def _peak_of_process() -> int:
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
