"""Copies of the repository, in which functions are changed and the laws are run."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import cache_from_source
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

import suite
from catalogue import Mutant
from functions import ROOT

SOURCES = ("afa_core", "backends", "conformance/afa_conformance", "docs/examples")
NO_START = "(the suite does not start)"
TIMEOUT = "(timeout)"
LIBRARIES = (
    *("pytest", "hypothesis", "numpy", "mpmath", "statsmodels.api", "torch"),
    *("scipy.integrate", "scipy.linalg", "scipy.optimize", "scipy.special", "scipy.stats"),
)
"""What the laws and the library import, which the process that is forked imports once."""
Item = TypeVar("Item")
Result = TypeVar("Result")
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([*LIBRARIES])


@dataclass(frozen=True)
class Outcome:
    """What became of the cases of a run.

    Parameters
    ----------
    failed, passed, skipped : list of str
        The cases.
    executed : dict
        The functions that each case executed, where that was recorded.
    output : str
        What pytest printed.
    """

    failed: list[str]
    passed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    executed: dict[str, list[str]] = field(default_factory=dict)
    output: str = ""


class Copy:
    """A copy of what the laws need of the repository."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for source in SOURCES:
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(ROOT / source, folder / source, ignore=ignored)
        shutil.copy(ROOT / "pyproject.toml", folder)

    @contextmanager
    def changed(self, mutant: Mutant) -> Iterator[None]:
        """Make the change of a mutant for the duration of a block."""
        path = self.folder / mutant.path
        original = path.read_text(encoding="utf-8")
        # a compiled module counts as current if its source has the same second and size
        compiled = Path(cache_from_source(str(path)))
        try:
            path.write_text(mutant.changed(original), encoding="utf-8")
            compiled.unlink(missing_ok=True)
            yield
        finally:
            path.write_text(original, encoding="utf-8")
            compiled.unlink(missing_ok=True)

    def run(self, request: suite.Request, timeout: float | None = None) -> Outcome:
        """Run the laws in a process of their own, and return what became of them."""
        answer = self.folder / "answer.json"
        answer.unlink(missing_ok=True)
        process = PROCESSES.Process(target=suite.run, args=(request, self.folder, answer))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            return Outcome([TIMEOUT])
        output = answer.with_suffix(".txt").read_text(encoding="utf-8", errors="replace")
        if not answer.exists():
            return Outcome([NO_START], output=output)
        found = json.loads(answer.read_text(encoding="utf-8"))
        by_outcome: dict[str, list[str]] = {"failed": [], "passed": [], "skipped": []}
        for case, outcome in found["outcomes"].items():
            by_outcome[outcome].append(case)
        return Outcome(**by_outcome, executed=found["executed"], output=output)


def in_parallel(
    items: Iterable[Item], copies: Sequence[Copy], job: Callable[[Item, Copy], Result]
) -> Iterator[tuple[Item, Result]]:
    """Yield the items with the results of their jobs, as they come, one item a copy at a time."""
    idle: SimpleQueue[Copy] = SimpleQueue()
    for copy in copies:
        idle.put(copy)

    def work(item: Item) -> Result:
        copy = idle.get()
        try:
            return job(item, copy)
        finally:
            idle.put(copy)

    with ThreadPoolExecutor(len(copies)) as pool:
        jobs = {pool.submit(work, item): item for item in items}
        try:
            for each in as_completed(jobs):
                yield jobs[each], each.result()
        finally:
            pool.shutdown(cancel_futures=True)
