"""The guide on correlated keys: its table is the report's, and its figures come again."""

import importlib.util
import json
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
SPEC = importlib.util.spec_from_file_location("correlated", DOCS / "examples" / "correlated.py")
EXAMPLE = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(EXAMPLE)
REPORT = json.loads(EXAMPLE.REPORT.read_text(encoding="utf-8"))


def assert_bounds(ratios, outliers):
    """Check the ratios to the Kalman filter: equal, at most 5 % worse, 15 % better or more."""
    assert ratios["correlated, Uniform"] == pytest.approx(1.0, rel=1e-9)
    assert ratios["independent, StudentT, q = k = v"] > 1.1
    for passes in (1, 2, 3):
        robust = ratios[f"correlated, Rational, pass {passes}"]
        assert robust <= (0.85 if outliers else 1.05)


def test_report():
    found = [(tuple(row["regime"]), row["outliers"]) for row in REPORT]
    assert found == [(tuple(x), share) for share in (0.0, 0.05) for x in EXAMPLE.REGIMES]
    for row in REPORT:
        assert_bounds(row["ratios"], row["outliers"])


def test_page_has_the_table_of_the_report():
    page = EXAMPLE.PAGE.read_text(encoding="utf-8")
    assert "\n".join(EXAMPLE.rows(REPORT)) in page


@pytest.mark.parametrize("row", REPORT[::5], ids=lambda row: f"{row['regime']}")
def test_ratios_come_again(row):
    """A quarter of the series: other numbers, the same bounds."""
    regime = EXAMPLE.Regime(*row["regime"])
    assert_bounds(EXAMPLE.ratios(regime, row["outliers"], repetitions=100), row["outliers"])
