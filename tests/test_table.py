"""The capability table is what the committed reports say."""

from pathlib import Path

import pytest

from afa_conformance import table

DOCS = Path(__file__).parents[1] / "docs"
pytestmark = pytest.mark.skipif(
    not (DOCS / "reports").is_dir(), reason="the source distribution has no reports"
)


def test_page_is_generated_from_the_reports():
    assert table.page(*table.read(DOCS / "reports")) == (DOCS / "capabilities.md").read_text()


def test_a_tick_is_for_what_passed_alone():
    columns, _ = table.read(DOCS / "reports")
    for column in columns:
        for name, law in column.report["laws"].items():
            outcomes = {case["outcome"] for case in law["cases"].values()}
            ticked = table.MARKS[table.outcome(column, name)] == "✓"
            assert ticked == (
                "passed" in outcomes and not outcomes & {"failed", "expected failure"}
            )


def test_a_library_that_cannot_be_used_is_a_column_with_its_reason():
    columns, _ = table.read(DOCS / "reports")
    cupy = next(each for each in columns if each.under_test["backend"] == "cupy")
    if not cupy.report["unavailable"]:
        pytest.skip("CuPy can be used here")
    assert cupy.report["unavailable"] in table.page(columns)
