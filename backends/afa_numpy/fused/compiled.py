"""How loops are compiled, and elementary functions of rows of numbers.

Rows are evaluated in loops without branches, from which compilers make vector instructions: in
single precision by polynomials, in double precision by the functions of the C library.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numba import extending, njit, types
from numba.core import event

LOGGER = logging.getLogger("afa_core")
EVENTS: Any = event
NJIT: Any = njit
INTERPRETED = "engine", "needed", "step", "threads", "warm_up"
"""Modules here of which nothing is compiled."""
BLOCK = 128
"""Queries, and keys, in a tile."""


def compiled(function: Any) -> Any:
    """Compile a function that allocates nothing, with infinities respected.

    It counts no references to arrays, which takes longer than the arithmetic of a row, and may
    return none.
    """
    return NJIT(fastmath=ALLOWED, _nrt=False, **INNER)(function)


def inlined(function: Any) -> Any:
    """Compile a function as a part of those that call it."""
    return NJIT(inline="always", **OPTIONS)(function)


def compiled_block(function: Any) -> Any:
    """Compile a function that allocates or multiplies matrices."""
    return NJIT(fastmath=ALLOWED, **INNER)(function)


def compiled_as_written(function: Any) -> Any:
    """Compile a function whose sums must not be rearranged."""
    return NJIT(fastmath={"contract"}, _nrt=False, **INNER)(function)


def compiled_on_disk(function: Any) -> Any:
    """Compile a function that Python calls, and keep what is compiled.

    It must be a closure over `sources`: Numba compiles it anew where these or its own file change.
    Where Numba may write to no folder, each process compiles it for itself.
    """
    try:
        return NJIT(cache=True, **OPTIONS)(function)
    except RuntimeError:  # Numba has no locator of a cache
        announce_no_cache()
        return NJIT(**OPTIONS)(function)


def sources() -> str:
    """Return a digest of the files that compiled functions are made from."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return sha256(b"".join(x.read_bytes() for x in files if x.stem not in INTERPRETED)).hexdigest()


@cache
def announce_no_cache() -> None:
    """Log, once, that nothing compiled is kept for later processes."""
    LOGGER.warning(
        "afa_core compiles attention anew in every process: Numba can write neither beside the "
        "package nor in the user's folder of caches. Set NUMBA_CACHE_DIR to a folder it can write."
    )


def announce_compilation(functions: Collection[Any]) -> None:
    """Log a line whenever one of these is about to be compiled, which takes its time."""

    def on_start(_: Any, each: Any) -> None:
        if each.data["dispatcher"] in functions:
            LOGGER.warning(
                "afa_core compiles attention for this dtype, once: it takes half a minute. "
                "`python -m afa_core warm-up` does so ahead of need."
            )

    def on_end(_: Any, each: Any) -> None:
        """Say nothing."""

    methods = {"on_start": on_start, "on_end": on_end}
    EVENTS.register("numba:compile", type("Announcement", (EVENTS.Listener,), methods)())


OPTIONS: Any = {"nogil": True, "error_model": "numpy"}
INNER: Any = OPTIONS | {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""Of functions that Python does not call: it takes long to compile how their arrays are passed."""
ALLOWED = {"contract", "reassoc", "nsz", "arcp", "afn"}

LOG2_E = np.float32(1.4426950408889634)
LN2_HIGH, LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
LOWEST = np.float32(-87.0)
EXP = [np.float32(x) for x in (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3)]
EXP += [np.float32(x) for x in (4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)]
E0, E1, E2, E3, E4, E5 = EXP
"""Of (eʳ − 1 − r)/r² for |r| ≤ ½ log 2, highest power first (Cephes)."""
LOG = [7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1]
LOG += [-1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1]
L0, L1, L2, L3, L4, L5, L6, L7, L8 = (np.float32(x) for x in LOG)
"""Of (log(1 + r) − r + ½r²)/r³ for 1 + r from √½ to √2 (Cephes)."""
ROOT_HALF = np.float32(0.7071067811865476)
ZERO, HALF, ONE = np.float32(0.0), np.float32(0.5), np.float32(1.0)


# Of the following, what is compiled is chosen by `overload` at the end. The bodies are for
# interpreted runs (NUMBA_DISABLE_JIT=1).


def exp_row(x: Any, out: Any, minus_one: Any, bits: Any, count: int) -> None:
    """Write eˣ and eˣ − 1 for x ≤ 0; `bits` is a row of int32, the others are distinct."""
    chosen = _exp_single if x.dtype == np.float32 else _exp_double
    chosen(x, out, minus_one, bits, count)


def log_row(x: Any, out: Any, bits: Any, count: int) -> None:
    """Write log x for normal x > 0."""
    chosen = _log_single if x.dtype == np.float32 else _log_double
    chosen(x, out, bits, count)


def log1p_row(x: Any, out: Any, spare: Any, bits: Any, count: int) -> None:
    """Write log (1 + x) for x ≥ 0; overwrites `spare`."""
    chosen = _log1p_single if x.dtype == np.float32 else _log1p_double
    chosen(x, out, spare, bits, count)


@compiled_as_written
def _exp_single(x: Any, out: Any, minus_one: Any, bits: Any, count: int) -> None:
    power_of_two = bits.view(np.float32)
    for j in range(count):
        y = x[j]
        y = y if y > LOWEST else LOWEST
        k = math.floor(y * LOG2_E + HALF)
        bits[j] = (np.int32(k) + np.int32(127)) << np.int32(23)
        minus_one[j] = y - k * LN2_HIGH - k * LN2_LOW
    for j in range(count):
        r = minus_one[j]
        p = ((((E0 * r + E1) * r + E2) * r + E3) * r + E4) * r + E5
        p = p * (r * r) + r
        s = power_of_two[j]
        minus_one[j] = s * p + (s - ONE)
        e = s * p + s
        out[j] = e if x[j] > LOWEST else ZERO


@compiled_as_written
def _exp_double(x: Any, out: Any, minus_one: Any, bits: Any, count: int) -> None:
    for j in range(count):
        out[j] = math.exp(x[j])
        minus_one[j] = math.expm1(x[j])


@compiled_as_written
def _log_single(x: Any, out: Any, bits: Any, count: int) -> None:
    mantissa, whole = bits.view(np.float32), out.view(np.int32)
    for j in range(count):
        out[j] = x[j]
    for j in range(count):
        e = (whole[j] >> np.int32(23)) - np.int32(126)
        bits[j] = (whole[j] & np.int32(0x7FFFFF)) | np.int32(0x3F000000)
        whole[j] = e
    for j in range(count):
        m, k = mantissa[j], np.float32(whole[j])
        small = m < ROOT_HALF
        k = k - ONE if small else k
        r = m + m - ONE if small else m - ONE
        r2 = r * r
        p = (
            (((((((L0 * r + L1) * r + L2) * r + L3) * r + L4) * r + L5) * r + L6) * r + L7) * r
        ) + L8
        p = p * r * r2 + k * LN2_LOW - HALF * r2
        out[j] = r + p + k * LN2_HIGH


@compiled_as_written
def _log_double(x: Any, out: Any, bits: Any, count: int) -> None:
    for j in range(count):
        out[j] = math.log(x[j])


@compiled_as_written
def _log1p_single(x: Any, out: Any, spare: Any, bits: Any, count: int) -> None:
    for j in range(count):
        spare[j] = ONE + x[j]
    _log_single(spare, out, bits, count)
    for j in range(count):
        out[j] += (x[j] - (spare[j] - ONE)) / spare[j]


@compiled_as_written
def _log1p_double(x: Any, out: Any, spare: Any, bits: Any, count: int) -> None:
    for j in range(count):
        out[j] = math.log1p(x[j])


def _exp_row(x: Any, out: Any, minus_one: Any, bits: Any, count: Any) -> Any:
    found = _exp_single if x.dtype == types.float32 else _exp_double
    return lambda x, out, minus_one, bits, count: found(x, out, minus_one, bits, count)


def _log_row(x: Any, out: Any, bits: Any, count: Any) -> Any:
    found = _log_single if x.dtype == types.float32 else _log_double
    return lambda x, out, bits, count: found(x, out, bits, count)


def _log1p_row(x: Any, out: Any, spare: Any, bits: Any, count: Any) -> Any:
    found = _log1p_single if x.dtype == types.float32 else _log1p_double
    return lambda x, out, spare, bits, count: found(x, out, spare, bits, count)


for _name, _chosen in ((exp_row, _exp_row), (log_row, _log_row), (log1p_row, _log1p_row)):
    extending.overload(_name, strict=False)(_chosen)
