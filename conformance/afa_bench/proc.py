"""Fields of the files in which Linux tells about the machine and about a process."""

from __future__ import annotations

from pathlib import Path

PROCESSORS, MEMORY = Path("/proc/cpuinfo"), Path("/proc/meminfo")
PROCESS = Path("/proc/self/status")


def field(path: Path, name: str) -> str:
    """Return the first value under a name, empty where there is none or no such file."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    parts = (line.partition(":") for line in lines)
    return next((value.strip() for key, _, value in parts if key.strip() == name), "")


def size(path: Path, name: str) -> int | None:
    """Return a value that is written in kB in bytes, None where there is none."""
    found = field(path, name)
    return 1024 * int(found.split()[0]) if found else None
