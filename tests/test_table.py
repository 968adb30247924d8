"""The capability table is what the committed reports say."""

from pathlib import Path

import pytest

from afa_conformance import table
from afa_conformance.columns import TableColumn
from afa_conformance.support import support

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


def column_of(dtype, mode="eager", backend="torch", device="cpu", **counts):
    under_test = {"backend": backend, "device": device, "dtype": dtype, "mode": mode}
    counts = {"passed": 1, "failed": 0, "expected failure": 0} | counts
    laws = {"weights/test_gradients.py::test_gradients": {"cases": {"": {"outcome": "passed"}}}}
    report = {"under_test": under_test, "unavailable": "", "counts": counts}
    return TableColumn("", report | {"laws": laws if mode == "eager" else {}})


def test_support_lists_the_dtypes_that_no_law_is_broken_in():
    unavailable = {"under_test": {"backend": "cupy"}, "unavailable": "no GPU", "laws": {}}
    found = support(
        [
            column_of("float32"),
            column_of("float64"),
            column_of("bfloat16", failed=1),
            column_of("float16", **{"expected failure": 2}),
            column_of("float32", mode="compiled, mapped"),
            column_of("float64", mode="compiled"),
            column_of("float64", mode="exported"),
            column_of("float32", device="cuda:0"),
            column_of("float64", device="meta"),
            column_of("float64", backend="array_api_strict"),
            TableColumn("", unavailable),
        ]
    )
    rows = [line.strip("| ").split(" | ") for line in found.splitlines() if line.startswith("|")]
    listed = "float64, float32, float16 (gap)"
    assert rows[2:] == [
        ["torch", "cpu", listed, "float64, float32", "float32", "float64", listed],
        ["torch", "GPU", "float32", "", "", "", "float32"],
        ["cupy", "GPU", *["not yet run"] * 5],
    ]
