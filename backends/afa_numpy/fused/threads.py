"""Jobs in threads: compiled loops without the interpreter's lock, products on one thread each.

Where PyTorch is loaded, its OpenMP threads do the work. For milliseconds after every operation they
wait in a loop, on the cores that other threads would need. A forked process lacks them, and would
wait for them: a pool of its own threads does the work.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from multiprocessing import parent_process
from pathlib import Path
from threading import RLock
from typing import Any

from threadpoolctl import ThreadpoolController

SHARES = 4
"""Into how many shares each thread's jobs are divided, for threads that others slow down."""

REGION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
"""What each thread of a parallel region of OpenMP runs."""

STAT = Path("/proc/self/stat")
"""Of Linux: the state of this process; its ninth field, the seventh after the name, are flags."""
FORKED = 0x40
"""The flag of a process that was forked and has executed no program since."""

_pools: dict[int, ThreadPoolExecutor] = {}


def _is_forked() -> bool:
    """Whether this process began as a fork; outside Linux, whether multiprocessing started it."""
    if not STAT.exists():
        return parent_process() is not None
    return bool(int(STAT.read_text().rpartition(")")[2].split()[6]) & FORKED)


_forked = [True] if _is_forked() else []


def run_jobs(threads: int, jobs: int, work: Callable[[int, int], None]) -> None:
    """Run ``work(first, last)`` over all jobs, in their order, in so many threads."""
    with _one_thread_a_product():
        if threads == 1 or jobs < 2:
            work(0, jobs)
            return
        size = max(1, jobs // (SHARES * threads))
        starts = itertools.count(0, size)

        def worker(_: int) -> None:
            while (first := next(starts)) < jobs:
                work(first, min(first + size, jobs))

        parallel = None if _forked else _openmp("torch" in sys.modules)
        if parallel is not None:
            _run_region(parallel, threads, worker)
            return
        if threads not in _pools:
            _pools[threads] = ThreadPoolExecutor(threads, "afa")
        list(_pools[threads].map(worker, range(threads)))


@cache
def _openmp(loaded: bool) -> Any:
    """Return how PyTorch's OpenMP library starts a parallel region, None if there is none."""
    if not loaded:
        return None
    for each in ThreadpoolController().select(user_api="openmp").lib_controllers:
        if "torch" in Path(each.filepath).parts:
            return getattr(ctypes.CDLL(each.filepath), "GOMP_parallel", None)
    return None


def _run_region(parallel: Any, threads: int, worker: Callable[[int], None]) -> None:
    """Run a worker in every thread of a parallel region."""
    errors: list[BaseException] = []

    def region(_: Any) -> None:
        try:
            worker(0)
        except BaseException as error:  # it cannot pass through OpenMP
            errors.append(error)

    parallel(REGION(region), None, threads, 0)
    if errors:
        raise errors[0]


@cache
def _libraries() -> list[Any]:
    import_module("scipy.linalg.cython_blas")  # where Numba finds products

    found: list[Any] = ThreadpoolController().select(user_api="blas").lib_controllers
    return found


_lock = RLock()
_running: list[list[int]] = []


@contextmanager
def _one_thread_a_product() -> Iterator[None]:
    """Let products run in the thread that calls them, as long as any caller needs it."""
    with _lock:
        _running.append(
            [each.num_threads for each in _libraries()] if not _running else _running[0]
        )
        if len(_running) == 1:
            _set_threads([1] * len(_libraries()))
    try:
        yield
    finally:
        with _lock:
            before = _running.pop()
            if not _running:
                _set_threads(before)


def _set_threads(counts: list[int]) -> None:
    for each, threads in zip(_libraries(), counts, strict=True):
        if each.num_threads != threads:  # setting them takes longer than a small problem
            each.set_num_threads(threads)
            if hasattr(each, "clear_controlling_thread"):  # else no other thread may set them
                each.clear_controlling_thread()


def _after_fork() -> None:
    """Forget the lock, all threads and their callers, since none survives."""
    global _lock
    _lock = RLock()
    _pools.clear()
    _forked.append(True)
    if _running:
        _set_threads(_running[0])
        _running.clear()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(
        before=lambda: _lock.acquire(),
        after_in_parent=lambda: _lock.release(),
        after_in_child=_after_fork,
    )
