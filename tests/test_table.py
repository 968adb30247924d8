"""The capability table, of features and of laws, is what the committed reports say."""

from pathlib import Path

import pytest

from afa_conformance import table
from afa_conformance.columns import TableColumn, outcome
from afa_conformance.evidence import _outcomes
from afa_conformance.features import FEATURES
from afa_conformance.law import LAWS
from afa_conformance.support import places_of, support

DOCS = Path(__file__).parents[1] / "docs"
EQUATION = "attention/test_double_sum.py::test_any_regime"
pytestmark = pytest.mark.skipif(
    not (DOCS / "reports").is_dir(), reason="the source distribution has no reports"
)


@pytest.mark.parametrize("name", ["capabilities.md", "capabilities-laws.md"])
def test_pages_are_generated_from_the_reports(tmp_path, name):
    assert table.main([str(DOCS / "reports"), "--output", str(tmp_path / "capabilities.md")]) == 0
    assert (tmp_path / name).read_text("utf-8") == (DOCS / name).read_text("utf-8")


def test_without_an_output_both_pages_are_printed(capsys):
    assert table.main([str(DOCS / "reports")]) == 0
    printed = capsys.readouterr().out
    assert "# Capability table\n" in printed
    assert "# Laws behind the capability table\n" in printed


def test_a_law_passed_in_a_run_if_all_its_cases_did():
    columns, _ = table.read(DOCS / "reports")
    for column in columns:
        for name, law in column.report["laws"].items():
            outcomes = {case["outcome"] for case in law["cases"].values()}
            assert (outcome(column, name) == "passed") == (
                "passed" in outcomes and not outcomes & {"failed", "expected failure"}
            )


def test_a_law_names_the_runs_of_each_outcome():
    given = ("passed", "passed", "failed", "skipped", "passed")
    columns = [column_of({EQUATION: found}) for found in given]
    assert _outcomes(columns, EQUATION) == ("1–2, 5", "failed: 3; skipped: 4")
    assert _outcomes(columns, "limits/a") == ("", "")


def test_features_name_laws_that_there_are():
    columns, _ = table.read(DOCS / "reports")
    cases = {name for column in columns for name, _ in column.cases()}
    files = {case.partition("::")[0] for case in cases}
    assert all((LAWS / name).is_file() for name in files)
    for feature in (each for listed in FEATURES.values() for each in listed):
        for law in feature.laws:
            assert any(feature._replace(laws=(law,)).concerns(case) for case in cases), law


def column_of(laws, dtype="float64", mode="eager", backend="torch", device="cpu", **others):
    """A column in which the cases of laws have these outcomes, with a reason of two lines."""
    under_test = {"backend": backend, "device": device, "dtype": dtype, "mode": mode}
    under_test |= {"implementation": "auto", "supports": {}} | others
    cases = {
        name: {"cases": {"": {"outcome": found, "reason": f"why {name}\nexample"}}}
        for name, found in laws.items()
    }
    return TableColumn(dtype, {"under_test": under_test, "unavailable": "", "laws": cases})


def cells(columns, title):
    """Return the head of the table of features, and the cells of one of them."""
    lines = support(places_of(columns)).splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line[:1] == "|"]
    return rows[0][1:], next(row[1:] for row in rows if row[0] == title)


def test_a_feature_lists_the_dtypes_in_which_its_laws_passed():
    head, found = cells(
        [
            column_of({EQUATION: "passed"}, "float32"),
            column_of({EQUATION: "passed", "limits/a": "failed"}, "float64"),
            column_of({EQUATION: "expected failure"}, "bfloat16"),
            column_of({EQUATION: "failed"}, "float16"),
            column_of({EQUATION: "passed"}, device="cuda:0"),
            column_of({EQUATION: "passed"}, device="meta"),
            column_of({EQUATION: "passed"}, backend="array_api_strict"),
            column_of({EQUATION: "unsupported"}, backend="numpy"),
            column_of({"limits/a": "passed"}, backend="jax"),
            column_of({EQUATION: "passed"}, backend="numpy", implementation="mine:attention"),
        ],
        "isotropic form",
    )
    assert head == ["PyTorch", "PyTorch, GPU", "NumPy", "JAX", "`mine:attention`"]
    assert found == [
        "float64, float32, bfloat16 (gap), float16 (broken)",
        *("float64", "– (1)", "", "float64"),
    ]


def test_the_reason_is_the_commonest_without_its_example():
    laws = {"limits/b": "skipped", "limits/a": "skipped"}
    assert "\n1. why limits/a\n" in support(places_of([column_of(laws)]))


def test_a_form_is_shown_by_runs_that_support_it():
    columns = [
        column_of({EQUATION: "passed"}, supports={"form": ["isotropic"]}, implementation="pallas")
    ]
    assert cells(columns, "isotropic form")[1] == ["float64"]
    assert cells(columns, "diagonal form")[1] == [""]
    assert cells(columns, "in kernels, `triton` or `pallas`")[1] == ["float64"]


def test_modes_and_half_precision_are_read_from_the_run_and_the_case():
    column = column_of({}, "float64", mode="compiled, mapped", backend="jax")
    name = "attention/test_half_precision.py::test_half_precision"
    cases = {"[bfloat16]": {"outcome": "passed"}, "[float16]": {"outcome": "unsupported"}}
    column.report["laws"][name] = {"cases": cases}
    assert cells([column], "tokens in half precision")[1] == ["bfloat16"]
    assert cells([column], "mapped")[1] == ["bfloat16"]
    assert cells([column], "eager")[1] == [""]


def test_gaps_and_runs_that_are_missing_are_listed_with_their_reasons():
    gpu = {"under_test": {"backend": "cupy"}, "unavailable": "no GPU", "laws": {}}
    gap = column_of({EQUATION: "expected failure"})
    text = table.page([gap, TableColumn("cupy", gpu)], "laws.md")
    assert f"- float64, `{EQUATION}`, expected failure: why {EQUATION}\n" in text
    assert "- CuPy, GPU, 1 of 1 runs: no GPU\n" in text
    assert "(laws.md)" in text
    assert "| feature | PyTorch |" in text
