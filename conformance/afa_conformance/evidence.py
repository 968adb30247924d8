"""The page behind the capability table: every law in every run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import TypedDict

from afa_conformance.columns import SEVEREST, TableColumn, outcome, reason
from afa_conformance.markdown import markdown_table
from afa_conformance.schema import LawReport

INTRODUCTION = """\
# Laws behind the capability table

Every law in every run from which the [capability table]({table}) is derived. A law is a statement
of the specification that is tested on drawn problems; a run tests an array library with a device,
dtype and mode, and has a number.

An expected failure is declared, with its reason below. An unsupported law needs what is declared
unsupported, or a dtype that there is not; a skipped one cannot be run there, as where the library
does not differentiate. A run that a law does not name has not tested it. "Worst" is the largest
error in the first run, as a share of the law's tolerance.
"""


class MutantEntry(TypedDict):
    """A mutant of the library, the forms it concerns, and the laws that notice it."""

    name: str
    forms: list[str]
    killed_by: list[str]


class MutantReport(TypedDict):
    """All mutants, and why some laws notice none of them."""

    mutants: list[MutantEntry]
    reasons: dict[str, str]


def evidence(columns: Sequence[TableColumn], mutants: MutantReport | None, table: str) -> str:
    """Return the page in Markdown; `table` is the address of the capability table."""
    run = [column for column in columns if not column.report["unavailable"]]
    parts = [
        INTRODUCTION.format(table=table),
        _columns(run),
        _laws(run),
        _not_passed(run),
    ]
    if mutants:
        parts.append(_sensitivity(mutants))
    return "\n".join(part for part in parts if part)


def _columns(columns: Sequence[TableColumn]) -> str:
    """Return the table of the runs themselves."""
    head = ("", "run", "library", "device, dtype, mode", "examples", "laws")
    rows = [_column_row(number, column) for number, column in enumerate(columns, start=1)]
    return "## Runs\n\n" + markdown_table(head, rows)


def _column_row(number: int, column: TableColumn) -> tuple[str, ...]:
    under_test, report = column.under_test, column.report
    counts = report["counts"]
    return (
        str(number),
        column.name,
        f"{under_test['backend']} {under_test['version']}",
        f"{under_test['device']}, {under_test['dtype']}, {under_test['mode']}",
        str(report["max_examples"]),
        ", ".join(f"{counts[name]} {name}" for name in SEVEREST if counts[name]),
    )


def _laws(columns: Sequence[TableColumn]) -> str:
    """Return a table for each group of laws."""
    titles = {name: law["title"] for each in columns for name, law in each.report["laws"].items()}
    parts = ["## Laws\n"]
    for group, names in groupby(sorted(titles), key=lambda name: name.partition("/")[0]):
        rows: list[tuple[str, ...]] = []
        for file, laws in groupby(names, key=lambda name: name.partition("::")[0]):
            listed = list(laws)
            rows.append((f"**{titles[listed[0]].removesuffix('.')}**", "", "", ""))
            for name in listed:
                label = name.removeprefix(f"{file}::test_").replace("_", " ")
                rows.append((label, *_outcomes(columns, name), _worst(columns[0], name)))
        table = markdown_table(("law", "passed in", "other outcomes", "worst"), rows)
        parts.append(f"### {group.replace('_', '–')}\n\n{table}")
    return "\n".join(parts)


def _outcomes(columns: Sequence[TableColumn], name: str) -> tuple[str, str]:
    """Return the runs in which a law passed, and those in which it had another outcome."""
    found: dict[str, list[int]] = {each: [] for each in ("", *SEVEREST)}
    for number, column in enumerate(columns, start=1):
        found[outcome(column, name)].append(number)
    others = (
        f"{each}: {_ranges(found[each])}" for each in SEVEREST if each != "passed" and found[each]
    )
    return _ranges(found["passed"]), "; ".join(others)


def _ranges(numbers: Sequence[int]) -> str:
    """Return increasing numbers as text, consecutive ones as a range."""
    runs = groupby(enumerate(numbers), key=lambda each: each[1] - each[0])
    listed = [[number for _, number in run] for _, run in runs]
    return ", ".join(f"{run[0]}–{run[-1]}" if len(run) > 1 else str(run[0]) for run in listed)


def _worst(column: TableColumn, name: str) -> str:
    """Return the largest share of the tolerance that an error of a law has."""
    law: LawReport | None = column.report["laws"].get(name)
    shares = [
        float(worst["error"]) / float(worst["tolerance"])
        for case in (law["cases"].values() if law else ())
        if (worst := case.get("worst")) and worst["tolerance"]
    ]
    return f"{max(shares):.2g}" if shares else ""


def _not_passed(columns: Sequence[TableColumn]) -> str:
    """Return why laws are expected to fail, or were not run."""
    parts = []
    for column in columns:
        reasons = Counter(
            (case["outcome"], reason(case))
            for _, case in column.cases()
            if case["outcome"] != "passed"
        )
        lines = [
            f"- {found}, {count} {'law' if count == 1 else 'laws'}: {why}"
            for (found, why), count in sorted(reasons.items())
        ]
        if lines:
            parts.append(f"### {column.name}\n\n" + "\n".join(lines) + "\n")
    return "## What was not passed, and why\n\n" + "\n".join(parts) if parts else ""


def _sensitivity(report: MutantReport) -> str:
    """Return which laws notice each mutant, and why some laws notice none."""
    mutants = report["mutants"]
    survivors = sum(not each["killed_by"] for each in mutants)
    summary = (
        f"`nox -s mutants` changes the library in {len(mutants)} ways, one at a time, and runs the "
        f"laws: {len(mutants) - survivors} of these mutants are killed, {survivors} survive.\n"
    )
    rows = [
        (
            each["name"],
            ", ".join(each["forms"]),
            str(len(each["killed_by"])),
            ", ".join(_short(law) for law in each["killed_by"][:3]),
        )
        for each in mutants
    ]
    text = f"## Sensitivity\n\n{summary}\n"
    text += markdown_table(("mutant", "forms", "laws broken", "among them"), rows)
    reasons = [(_short(law), why) for law, why in sorted(report.get("reasons", {}).items())]
    if reasons:
        text += "\nLaws that kill none of these mutants, and why they are kept:\n\n"
        text += markdown_table(("law", "why"), reasons)
    return text


def _short(law: str) -> str:
    return law.removesuffix("]").replace(".py::test_", ": ").replace("test_", "").replace("_", " ")
