"""Reports the outcome of every law, on the terminal and as JSON."""

from __future__ import annotations

import json
import os
import platform
import shlex
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import settings

from afa_conformance.limits import UNSUPPORTED
from afa_conformance.schema import (
    FORMAT,
    OUTCOMES,
    CaseRecord,
    CaseReport,
    LawReport,
    RunReport,
    SubjectReport,
)
from afa_conformance.subject import Subject

LIBRARIES = ("afa-core", "numpy", "array-api-compat", "hypothesis")
PROPERTY = "afa"
"""Under which a test carries its `CaseRecord`."""


class CaseOutcome(NamedTuple):
    """The outcome of a case of a law, one of `OUTCOMES`, and the reason."""

    outcome: str
    reason: str
    record: CaseRecord


class Reporter:
    """Collects the outcomes of all laws; under pytest-xdist, in the controlling process."""

    def __init__(self, config: pytest.Config, subject: Subject | None, reason: str) -> None:
        self.config = config
        self.subject = subject
        self.reason = reason
        self.cases: dict[str, CaseOutcome] = {}

    def pytest_report_header(self) -> str:
        """Name what is under test."""
        if self.subject is None:
            return f"afa: {self.reason}"
        return "afa: " + ", ".join(f"{name} {x}" for name, x in self._under_test().items() if x)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the outcome of a law."""
        record: CaseRecord | None = dict(report.user_properties).get(PROPERTY)  # type: ignore[assignment]
        decisive = report.when == "call" or (report.when == "setup" and not report.passed)
        if record is not None and decisive:
            self.cases[record["case"]] = CaseOutcome(*_outcome(report), record)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the laws that are broken, what they demand, and how to run them again."""
        broken = {case: each for case, each in self.cases.items() if each.outcome == "failed"}
        if broken:
            terminalreporter.section("laws broken")
        for case, each in sorted(broken.items()):
            terminalreporter.line(f"{case}", red=True, bold=True)
            terminalreporter.line(f"    {each.record['title']}")
            terminalreporter.line(f"    {each.record['statement']}")
            terminalreporter.line(f"    {each.reason}")
            terminalreporter.line(f"    again: {self._again(each.record)}")
        if self.cases:
            counts = ", ".join(f"{count} {name}" for name, count in self._counts().items() if count)
            terminalreporter.line(f"laws of Adaptive Filter Attention: {counts}")

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Write the report, but for a run that was refused."""
        path = self.config.getoption("--afa-report")
        if path and exitstatus != pytest.ExitCode.USAGE_ERROR:
            target = Path(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps(self.document(), ensure_ascii=False, indent=1, allow_nan=False)
            target.write_text(text + "\n", encoding="utf-8")

    def document(self) -> RunReport:
        """Return the report as it is written."""
        laws: dict[str, LawReport] = {}
        for case, each in sorted(self.cases.items() if self.subject else ()):
            record = each.record
            law = laws.setdefault(
                record["name"],
                {"title": record["title"], "statement": record["statement"], "cases": {}},
            )
            law["cases"][case.removeprefix(record["name"])] = _case_report(each)
        return {
            "format": FORMAT,
            "under_test": self._under_test(),
            "unavailable": self.reason,
            "profile": self.config.getoption("--hypothesis-profile", None) or "default",
            "max_examples": settings().max_examples,
            "versions": {name: version(name) for name in LIBRARIES},
            "machine": {
                "python": platform.python_version(),
                "system": f"{platform.system()} {platform.machine()}",
                "processors": os.cpu_count(),
            },
            "counts": self._counts(),
            "laws": laws,
        }

    def _counts(self) -> dict[str, int]:
        counts = Counter(each.outcome for each in self.cases.values())
        return {name: counts[name] for name in OUTCOMES}

    def _under_test(self) -> SubjectReport:
        subject = self.subject
        if subject is None:
            return {"backend": self.config.getoption("--afa-backend")}
        default = subject.backend.devices[0] if subject.backend.devices else ""
        return {
            "backend": subject.name,
            "version": subject.backend.version,
            "implementation": subject.implementation,
            "device": subject.device or default,
            "dtype": subject.dtype,
            "mode": subject.mode,
            "supports": {name: list(x) for name, x in subject.supports.items()},
        }

    def _again(self, record: CaseRecord) -> str:
        """Return the command that runs the law on the failing example."""
        words = ["python", "-m", "afa_conformance"]
        for option in ("backend", "implementation", "tile", "device", "dtype"):
            given = self.config.getoption(f"--afa-{option}")
            if given is not None and (option, given) != ("implementation", "auto"):
                words.append(f"--afa-{option}={given}")
        for option in ("compile", "export"):
            words += [f"--afa-{option}"] if self.config.getoption(f"--afa-{option}") else []
        if record["failed"]:
            words.append(f"--afa-example={record['failed']}")
        return shlex.join([*words, f"--afa-law={record['case']}"])


def _case_report(each: CaseOutcome) -> CaseReport:
    """Return a case as it is written: without its empty entries, and `failed` if it did."""
    case: CaseReport = {"outcome": each.outcome}
    if each.reason:
        case["reason"] = each.reason
    if each.record["examples"]:
        case["examples"] = each.record["examples"]
    if each.record["worst"]:
        case["worst"] = each.record["worst"]
    if each.record["failed"] and each.outcome == "failed":
        case["failed"] = each.record["failed"]
    return case


def _outcome(report: pytest.TestReport) -> tuple[str, str]:
    """Return the outcome of a law, and the reason."""
    if hasattr(report, "wasxfail"):
        outcome = "expected failure" if report.skipped else "failed"
        return outcome, str(report.wasxfail).removeprefix("reason: ")
    if report.skipped:
        reason = _skip_reason(report)
        if reason.startswith(UNSUPPORTED):
            return "unsupported", reason.removeprefix(UNSUPPORTED)
        return "skipped", reason
    return ("passed", "") if report.passed else ("failed", _message(report))


def _skip_reason(report: pytest.TestReport) -> str:
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    return str(report.longrepr)


def _message(report: pytest.TestReport) -> str:
    """Return the line that says what went wrong."""
    crash = getattr(report.longrepr, "reprcrash", None)
    lines = (crash.message if crash else str(report.longrepr)).splitlines()
    found = [line.strip() for line in lines if line.strip(" :") not in ("", "AssertionError")]
    return found[0] if found else "AssertionError"
