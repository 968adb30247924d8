"""Run the laws in a process that is forked from one with all libraries imported."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Generator, Sequence
from operator import itemgetter
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import Phase, settings

LAWS = "conformance/afa_conformance/laws"
SLOW = "not test_estimate_is_the_double_sum or (student and True and irregular)"
"""All laws, and of the slowest one case of each form."""
IMPORTED = (".", "backends", "conformance", "docs/examples")
"""Folders that modules are imported from, relative to a copy of the repository."""
IMPORTING = "importing"
"""In place of a case, for what is executed while the laws are imported and collected."""
COMPILED = "compiled"
"""Part of the names of laws that compile: the compiler reads functions instead of calling them."""
STARTED = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED)


class Request(NamedTuple):
    """What to run: on which library, with which options of the conformance suite.

    Parameters
    ----------
    library : str
        The array library.
    options : tuple of str
        Of the conformance suite.
    examples : int
        How many each law draws.
    cases : sequence of str, optional
        The cases to run, in this order, such as ``attention/test_units.py::test_units[True]``,
        or whole laws, without brackets; the default is all.
    first_failure : bool
        Whether to stop at the first failure.
    record : bool
        Whether to record the functions that each case executes, which takes longer.
    """

    library: str
    options: tuple[str, ...]
    examples: int
    cases: Sequence[str] | None = None
    first_failure: bool = False
    record: bool = False


class Recorder:
    """A pytest plugin that selects cases and records what becomes of them."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.outcomes: dict[str, str] = {}
        self.executed: dict[str, list[str]] = {}
        self.codes: dict[int, CodeType] = {}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep the cases of the request, in its order."""
        self._store(IMPORTING)
        if self.request.cases is not None:
            places = {case: place for place, case in enumerate(self.request.cases)}
            cases = [case_of(item.nodeid) for item in items]
            found = [places.get(case, places.get(law_of(case))) for case in cases]
            chosen = [pair for pair in zip(found, items, strict=True) if pair[0] is not None]
            items[:] = [item for _, item in sorted(chosen, key=itemgetter(0))]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Record the functions that a case executes, its fixtures included."""
        self.codes = {}
        profile = sys.getprofile()
        sys.setprofile(None if COMPILED in item.nodeid else profile)
        result = yield
        sys.setprofile(profile)
        self._store(case_of(item.nodeid))
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Record whether a case failed, was skipped, or passed."""
        case = case_of(report.nodeid)
        if report.when == "call" or not report.passed:
            failed = self.outcomes.get(case) == "failed"
            self.outcomes[case] = "failed" if failed else report.outcome

    def profile(self, frame: FrameType, event: str, _: Any) -> None:
        """Note the code that is executed, see `sys.setprofile`."""
        if event == "call":
            self.codes[id(frame.f_code)] = frame.f_code

    def _store(self, case: str) -> None:
        codes, self.codes = self.codes, {}
        folder = f"{os.getcwd()}/"
        own = [code for code in codes.values() if code.co_filename.startswith(folder)]
        self.executed[case] = sorted({name_of(code, folder) for code in own})


def case_of(nodeid: str) -> str:
    """Return the case of a law from its node id."""
    return nodeid.removeprefix(f"{LAWS}/")


def law_of(case: str) -> str:
    """Return the law of a case, which is without parameters."""
    return case.partition("[")[0]


def name_of(code: CodeType, folder: str) -> str:
    """Return ``file:qualified name`` of a function whose file is in a folder."""
    file = os.path.normpath(code.co_filename).removeprefix(folder)
    return f"{file}:{code.co_qualname.replace('.<locals>', '')}"


def run(request: Request, folder: Path, answer: Path) -> None:
    """Run the laws of a copy of the repository in this process, and write what became of them."""
    os.chdir(folder)
    sys.path[:0] = [str(folder / each) for each in IMPORTED]
    with answer.with_suffix(".txt").open("w") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    settings.register_profile(
        "mutants",
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        report_multiple_bugs=False,
    )
    choose_loops(request)
    recorder = Recorder(request)
    if request.record:
        sys.setprofile(recorder.profile)
    status = pytest.main(arguments(request), plugins=[recorder])
    sys.setprofile(None)
    if status in STARTED:
        check_imports(folder)
        found = {"outcomes": recorder.outcomes, "executed": recorder.executed}
        answer.write_text(json.dumps(found))


def choose_loops(request: Request) -> None:
    """Interpret compiled loops, so that functions are recorded, and leave them to their own runs.

    They would be chosen for large problems, which takes minutes. Kernels of Triton are interpreted.
    """
    os.environ["TRITON_INTERPRET"] = "1"
    if "--afa-implementation=fused" in request.options:
        os.environ |= {"NUMBA_DISABLE_JIT": "1", "NUMBA_NUM_THREADS": "1"}
        np.seterr(all="ignore")  # as compiled loops do
    else:
        sys.modules["numba"] = None  # type: ignore[assignment]


def arguments(request: Request) -> list[str]:
    """Return the arguments of pytest."""
    files = {case.partition("::")[0] for case in request.cases or ()}
    return [
        *("-c", "pyproject.toml", "--rootdir=.", "-p", "no:cacheprovider"),
        *("-q", "--tb=short", "--assert=plain"),
        *("-p", "afa_conformance.plugin", f"--afa-backend={request.library}", *request.options),
        *("--hypothesis-profile=mutants", f"--afa-examples={request.examples}", f"-k={SLOW}"),
        *(["-x"] if request.first_failure else []),
        *([f"{LAWS}/{file}" for file in sorted(files)] if request.cases is not None else [LAWS]),
    ]


def check_imports(folder: Path) -> None:
    """Raise an error unless the copy is what was tested."""
    import afa_core

    if not Path(afa_core.__file__).resolve().is_relative_to(folder.resolve()):
        msg = f"tested {afa_core.__file__} instead of the copy in {folder}"
        raise ImportError(msg)
