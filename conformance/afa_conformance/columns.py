"""Reports of runs as columns of the capability table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from afa_conformance.schema import CaseReport, RunReport, SubjectReport

LIBRARIES = ("numpy", "array_api_strict", "torch", "jax", "cupy")
SEVEREST = ("failed", "expected failure", "passed", "skipped", "unsupported")
"""The outcome of a law with several cases is the first of these among them."""


class TableColumn(NamedTuple):
    """A report under the name that stands above its column."""

    name: str
    report: RunReport

    @property
    def under_test(self) -> SubjectReport:
        """What was under test: library, version, device, dtype, mode."""
        return self.report["under_test"]

    def cases(self) -> Iterator[tuple[str, CaseReport]]:
        """Yield the name of each case of a law, its parameters in brackets, and its report."""
        for name, law in self.report["laws"].items():
            for parameters, case in law["cases"].items():
                yield name + parameters, case


def outcome(column: TableColumn, name: str) -> str:
    """Return the outcome of a law: the severest of its cases."""
    law = column.report["laws"].get(name)
    found = {case["outcome"] for case in law["cases"].values()} if law else set()
    return next((each for each in SEVEREST if each in found), "")


def reason(case: CaseReport) -> str:
    """Return why a case was not passed, without the example that follows in later lines."""
    return case.get("reason", "").partition("\n")[0]
