"""The report: every law with what became of it, on the terminal and as JSON."""

from __future__ import annotations

import json
import os
import platform
import shlex
from collections import Counter
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from afa_conformance.limits import UNSUPPORTED
from afa_conformance.subject import Subject

FORMAT = 1
OUTCOMES = ("passed", "failed", "expected failure", "unsupported", "skipped")
LAWS = Path(__file__).parent / "laws"
LIBRARIES = ("afa-core", "numpy", "array-api-compat", "hypothesis")


@dataclass(frozen=True)
class Law:
    """A case of a law: its file under `laws`, its function, the parameters of the case."""

    name: str
    case: str
    title: str
    statement: str

    @property
    def group(self) -> str:
        """Name of the folder it stands in."""
        return self.name.partition("/")[0]

    def matches(self, pattern: str) -> bool:
        """Return whether a pattern names it, or its case; brackets stand for themselves."""
        return self.name == pattern or fnmatchcase(self.case, pattern.replace("[", "[[]"))


def law_of(item: pytest.Item) -> Law | None:
    """Return the law of a test, None if it is some other test."""
    if not isinstance(item, pytest.Function) or LAWS not in item.path.parents:
        return None
    case = f"{item.path.relative_to(LAWS).as_posix()}::{item.name}"
    statement = " ".join((item.function.__doc__ or "").split())
    return Law(case.partition("[")[0], case, _first_line(item.module.__doc__), statement)


def _first_line(text: str | None) -> str:
    return next((line.strip() for line in (text or "").splitlines() if line.strip()), "")


class Report:
    """Collects what every law came to; with xdist it lives in the process that leads."""

    def __init__(self, config: pytest.Config, subject: Subject | None, reason: str) -> None:
        self.config = config
        self.subject = subject
        self.reason = reason
        self.cases: dict[str, dict[str, Any]] = {}

    def pytest_report_header(self) -> str:
        """Say what is judged."""
        if self.subject is None:
            return f"afa: {self.reason}"
        return "afa: " + ", ".join(f"{name} {x}" for name, x in self._judged().items() if x)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the outcome of a law."""
        found: Any = dict(report.user_properties).get("afa")
        decisive = report.when == "call" or (report.when == "setup" and not report.passed)
        if found is None or not decisive:
            return
        outcome, reason = _outcome(report)
        self.cases[found["case"]] = {"outcome": outcome, "reason": reason, **found}

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Name the laws that are broken, what they demand, and how to see it again."""
        broken = {case: x for case, x in self.cases.items() if x["outcome"] == "failed"}
        counts = Counter(each["outcome"] for each in self.cases.values())
        if broken:
            terminalreporter.section("laws broken")
        for case, each in sorted(broken.items()):
            terminalreporter.line(f"{case}", red=True, bold=True)
            terminalreporter.line(f"    {each['title']}")
            terminalreporter.line(f"    {each['statement']}")
            terminalreporter.line(f"    {each['reason']}")
            terminalreporter.line(f"    again: {self._again(case, each)}")
        if counts:
            told = ", ".join(f"{counts[name]} {name}" for name in OUTCOMES if counts[name])
            terminalreporter.line(f"laws of Adaptive Filter Attention: {told}")

    def pytest_sessionfinish(self) -> None:
        """Write the report."""
        path = self.config.getoption("--afa-report")
        if path:
            target = Path(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps(self.whole(), ensure_ascii=False, indent=1, sort_keys=False)
            target.write_text(text + "\n", encoding="utf-8")

    def whole(self) -> dict[str, Any]:
        """Return the report as it is written."""
        laws: dict[str, dict[str, Any]] = {}
        for case, each in sorted(self.cases.items()):
            law = laws.setdefault(
                each["name"],
                {
                    "title": each.get("title", ""),
                    "statement": each.get("statement", ""),
                    "cases": {},
                },
            )
            failed = ("failed",) if each["outcome"] == "failed" else ()
            told = ("outcome", "reason", "examples", "worst", *failed)
            kept = {name: each[name] for name in told if each.get(name)}
            law["cases"][case.removeprefix(each["name"])] = kept
        counts = Counter(each["outcome"] for each in self.cases.values())
        return {
            "format": FORMAT,
            "judged": self._judged(),
            "unavailable": self.reason,
            "profile": self.config.getoption("--hypothesis-profile", None) or "default",
            "max_examples": settings().max_examples,
            "versions": {name: version(name) for name in LIBRARIES},
            "machine": {
                "python": platform.python_version(),
                "system": f"{platform.system()} {platform.machine()}",
                "processors": os.cpu_count(),
            },
            "counts": {name: counts[name] for name in OUTCOMES},
            "laws": laws,
        }

    def _judged(self) -> dict[str, Any]:
        it = self.subject
        if it is None:
            return {"backend": self.config.getoption("--afa-backend")}
        default = it.backend.devices[0] if it.backend.devices else ""
        return {
            "backend": it.name,
            "version": it.backend.version,
            "implementation": it.implementation,
            "device": it.device or default,
            "dtype": it.dtype,
            "mode": "compiled" if it.compiled else "eager",
            "supports": {name: list(x) for name, x in it.supports.items()},
        }

    def _again(self, case: str, found: dict[str, Any]) -> str:
        """Return the command that puts the law to the failing example."""
        words = ["python", "-m", "afa_conformance"]
        for option in ("backend", "implementation", "tile", "device", "dtype"):
            given = self.config.getoption(f"--afa-{option}")
            if given is not None and (option, given) != ("implementation", "auto"):
                words.append(f"--afa-{option}={given}")
        words += ["--afa-compile"] if self.config.getoption("--afa-compile") else []
        if found.get("failed"):
            words.append(f"--afa-example={found['failed']}")
        return shlex.join([*words, f"--afa-law={case}"])


def _outcome(report: pytest.TestReport) -> tuple[str, str]:
    """Return what became of a law, and why."""
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
    told = [line.strip() for line in lines if line.strip(" :") not in ("", "AssertionError")]
    return told[0] if told else "AssertionError"
