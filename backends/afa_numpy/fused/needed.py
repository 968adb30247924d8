"""What compiled loops need beside NumPy."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

NEEDED = "numba", "scipy", "threadpoolctl"


@cache
def missing() -> str:
    """Return which libraries are missing, and how to install them; an empty string if none is."""
    absent = [name for name in NEEDED if find_spec(name) is None]
    return f"it needs {', '.join(absent)}: install the extra `fast`." if absent else ""


def threads() -> int:
    """Return how many threads Numba may use."""
    from numba import get_num_threads

    return int(get_num_threads())
