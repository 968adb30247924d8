"""The capability table: ``python -m afa_conformance.table FOLDER --output PAGE``.

Beside the page, of features by library, a second one is written whose name ends in ``-laws``: every
law in every run.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from afa_conformance.columns import LIBRARIES, TableColumn, reason
from afa_conformance.evidence import MutantReport, evidence
from afa_conformance.support import Places, places_of, support

INTRODUCTION = """\
# Capability table

Which array library has which feature, in which dtypes. Generated from reports of the conformance
suite; nothing here is written by hand. Behind it is a [table of all laws]({laws}), tests of the
equations of the specification on drawn problems.
"""


def read(folder: Path) -> tuple[list[TableColumn], MutantReport | None]:
    """Read the reports of a folder, in the order of `LIBRARIES`, and that of mutants."""
    reports = {path.stem: json.loads(path.read_text("utf-8")) for path in folder.glob("*.json")}
    mutants: MutantReport | None = reports.pop("mutants", None)

    def place(column: TableColumn) -> tuple[int, str]:
        backend = column.under_test["backend"]
        known = backend in LIBRARIES
        return LIBRARIES.index(backend) if known else len(LIBRARIES), column.name

    columns = [TableColumn(name.replace("-", " "), report) for name, report in reports.items()]
    return sorted(columns, key=place), mutants


def page(columns: Sequence[TableColumn], laws: str) -> str:
    """Return the page of features in Markdown; `laws` is the address of that of laws."""
    places = places_of(columns)
    run = {name: listed for name, listed in places.items() if any(map(_was_run, listed))}
    parts = (INTRODUCTION.format(laws=laws), support(run), _gaps(columns), _not_run(places))
    return "\n".join(part for part in parts if part)


def _was_run(column: TableColumn) -> bool:
    return not column.report["unavailable"]


def _gaps(columns: Sequence[TableColumn]) -> str:
    """Return the laws that are broken or known to fail, and why."""
    lines = [
        f"- {column.name}, `{name}`, {case['outcome']}: {reason(case)}"
        for column in columns
        for name, case in column.cases()
        if case["outcome"] in ("failed", "expected failure")
    ]
    return "\n".join(["## Gaps\n", *lines, ""]) if lines else ""


def _not_run(places: Places) -> str:
    """Return what has not been run, and why."""
    lines = []
    for name, listed in places.items():
        reasons = Counter(each.report["unavailable"] for each in listed if not _was_run(each))
        lines += [
            f"- {name}, {count} of {len(listed)} runs: {why}" for why, count in reasons.items()
        ]
    return "\n".join(["## Not yet run\n", *lines, ""]) if lines else ""


def main(arguments: list[str] | None = None) -> int:
    """Write the pages of the reports in a folder."""
    parser = argparse.ArgumentParser(prog="python -m afa_conformance.table", description=__doc__)
    parser.add_argument("folder", type=Path, help="of reports written by --afa-report")
    parser.add_argument(
        "--output", type=Path, metavar="PAGE", help="file to write (default: standard output)"
    )
    options = parser.parse_args(arguments)
    columns, mutants = read(options.folder)
    target: Path = options.output or Path("capabilities.md")
    laws = target.with_stem(f"{target.stem}-laws")
    pages = {
        target: page(columns, laws.name),
        laws: evidence(columns, mutants, target.name),
    }
    for path, text in pages.items():
        if options.output:
            path.write_text(text, encoding="utf-8")
        else:
            sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
