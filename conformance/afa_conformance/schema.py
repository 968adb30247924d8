"""The report of a run, as it is written to JSON and read by the capability table."""

from __future__ import annotations

from typing import Any, TypedDict

FORMAT = 1
OUTCOMES = ("passed", "failed", "expected failure", "unsupported", "skipped")


class WorstReport(TypedDict):
    """The comparison nearest to its tolerance, both absolute, and the example that gave it.

    Numbers that are not finite are text: "nan", "inf".
    """

    error: float | str
    tolerance: float | str
    example: str


class CaseReport(TypedDict, total=False):
    """One case of a law: empty entries are left out, but not `outcome`.

    `failed` is the example that broke the law.
    """

    outcome: str
    reason: str
    examples: int
    worst: WorstReport
    failed: str


class CaseRecord(TypedDict):
    """What a test passes on, from its process to the one that reports: a law and its record."""

    name: str
    case: str
    title: str
    statement: str
    examples: int
    failed: str
    worst: WorstReport | None


class LawReport(TypedDict):
    """A law and its cases by their parameters in brackets."""

    title: str
    statement: str
    cases: dict[str, CaseReport]


class SubjectReport(TypedDict, total=False):
    """The implementation under test; `backend` alone if its library cannot be used."""

    backend: str
    version: str
    implementation: str
    device: str
    dtype: str
    mode: str
    supports: dict[str, list[Any]]


class MachineReport(TypedDict):
    """Where the laws were run."""

    python: str
    system: str
    processors: int | None


class RunReport(TypedDict):
    """The whole report; `unavailable` is why the library cannot be used, or empty."""

    format: int
    under_test: SubjectReport
    unavailable: str
    profile: str
    max_examples: int
    versions: dict[str, str]
    machine: MachineReport
    counts: dict[str, int]
    laws: dict[str, LawReport]
