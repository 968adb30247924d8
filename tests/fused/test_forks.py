"""Compiled loops in forked processes: no thread, caller or lock of the parent is waited for."""

import os
import signal
import subprocess
import sys
from threading import Event, Thread
from time import sleep

import pytest

pytest.importorskip("numba")

from afa_numpy.fused import threads

LIMIT = 60
"""Seconds after which a child that hangs is ended by an alarm."""
FIRST_IMPORT = f"""
import os, signal, torch

torch.set_num_threads(2)
torch.exp(torch.ones(1 << 18))
child = os.fork()
if child == 0:
    signal.alarm({LIMIT})
    from afa_numpy.fused.threads import run_jobs

    done = []
    run_jobs(2, 8, lambda first, last: done.extend(range(first, last)))
    os._exit(sorted(done) != list(range(8)))
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]


def products():
    """Return on how many threads products run in each library."""
    return [each.num_threads for each in threads._libraries()]


def holds_in_child(expected):
    """Whether products of a forked child run on so many threads, before and after its jobs."""
    child = os.fork()
    if child == 0:
        signal.alarm(LIMIT)
        before, done = products(), []
        threads.run_jobs(2, 8, lambda first, last: done.extend(range(first, last)))
        os._exit(not (before == products() == expected and sorted(done) == list(range(8))))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.fixture
def two_threads():
    before = products()
    threads._set_threads([2] * len(before))
    yield products()
    threads._set_threads(before)


def test_a_child_that_imports_them_first():
    """OpenMP's threads are the parent's, which PyTorch started."""
    pytest.importorskip("torch")
    assert subprocess.run([sys.executable, "-c", FIRST_IMPORT], check=False).returncode == 0


def test_a_fork_while_another_thread_computes(two_threads):
    begun, forked = Event(), Event()

    def work(first, last):
        begun.set()
        forked.wait()

    caller = Thread(target=threads.run_jobs, args=(1, 1, work))
    caller.start()
    begun.wait()
    try:
        assert products() == [1] * len(two_threads)
        assert holds_in_child(two_threads)
    finally:
        forked.set()
        caller.join()
    assert products() == two_threads


def test_a_fork_by_the_holder_of_the_lock(two_threads):
    with threads._lock:
        assert holds_in_child(two_threads)


def test_a_fork_while_another_thread_holds_the_lock(two_threads):
    held = Event()

    def hold():
        with threads._lock:
            held.set()
            sleep(0.2)  # while the fork begins

    holder = Thread(target=hold)
    holder.start()
    held.wait()
    assert holds_in_child(two_threads)
    holder.join()
